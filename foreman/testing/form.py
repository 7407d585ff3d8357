"""Reading a multipart form that is already in memory."""

from email.parser import BytesParser
from email.policy import HTTP

from foreman.testing.gojson import Fields, Refusal


def form_fields(body: bytes, content_type: str) -> Fields:
    """The form's parts by name: text, but bytes where the part is a file. Raises Refusal(400)."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser(policy=HTTP).parsebytes(head + body)
    if not form.is_multipart():
        raise Refusal(400, "request Content-Type isn't multipart/form-data")
    fields: Fields = {}
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content if part.get_filename() else content.decode("utf-8", "replace")
    if "file" not in fields:
        raise Refusal(400, "file is required")
    return fields
