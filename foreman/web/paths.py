"""Which path a request is for, however it is written.

What is passed on and what a request is classed by come from one string, so that nothing can be one thing here and
another thing at the target: no host of an absolute form, no fragment.
"""

from aiohttp import web

from foreman.core.ollama import clean_path


def sent_path(request: web.BaseRequest) -> str:
    """Path and query as the client wrote them, as the target gets them."""
    # A parser may take a fragment for a part of the path; nobody may see one where another does not.
    return request.rel_url.raw_path_qs.partition("#")[0]


def route_path(request: web.BaseRequest) -> str:
    """The path that Ollama would route the request by: decoded, without query and without detours."""
    return clean_path(sent_path(request))
