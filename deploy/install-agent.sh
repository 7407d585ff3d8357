#!/bin/sh
# Installs foreman as an agent of the user who runs this, on macOS: deploy/README.md says what it does.
#   deploy/install-agent.sh            install, or install again after a change, and start
#   deploy/install-agent.sh --remove   stop and remove; the database and the log stay
set -eu
label=local.foreman
here=$(cd "$(dirname "$0")" && pwd)
program=$(dirname "$here")/.venv/bin/foreman
agents=$HOME/Library/LaunchAgents
plist=$agents/$label.plist
domain=gui/$(id -u)

if [ "${1-}" != "" ] && [ "$1" != --remove ]; then
  echo "usage: install-agent.sh [--remove]" >&2
  exit 2
fi
if [ "${1-}" != --remove ] && [ ! -x "$program" ]; then
  echo "there is no $program: install foreman first, see deploy/README.md" >&2
  exit 1
fi
# One that does not run yet is no mistake.
launchctl bootout "$domain/$label" 2>/dev/null || true
if [ "${1-}" = --remove ]; then
  rm -f "$plist"
  echo "removed $plist"
  exit 0
fi
mkdir -p "$agents" "$HOME/Library/Logs"
sed -e "s|@HOME@/foreman/.venv/bin/foreman|$program|" -e "s|@HOME@|$HOME|g" "$here/foreman.plist" > "$plist.new"
mv "$plist.new" "$plist"
launchctl bootstrap "$domain" "$plist"
echo "foreman runs at http://127.0.0.1:11435; its log is $HOME/Library/Logs/foreman.log"
