"""What the stub answers: the bodies of each API, made from a reply. Pure; sending them is not known here."""
