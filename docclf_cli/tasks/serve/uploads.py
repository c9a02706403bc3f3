"""The file of a request, raw or as a form field; it stays in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

FILE = "file"  # the form field
MULTIPART = "multipart/form-data"
_FORM_OVERHEAD = 64 * 1024  # bytes that the parts of a form may take beside the file
BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": [FILE],
                "properties": {FILE: {"type": "string", "format": "binary"}},
            }
        },
    },
}


async def file_of(request: Request, limit: int) -> tuple[str, bytes]:
    """Name and content of the file of a request, which stays in memory.

    Raises:
        HTTPException: It is too large, empty, or the form has not exactly one file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        content = b"".join([chunk async for chunk in _bounded(request, limit)])
        if not content:
            raise HTTPException(
                422, f"the body is empty (0 bytes); send the file as it is, or as the form field '{FILE}'"
            )
        return request.query_params.get("name", ""), content
    parser = MultiPartParser(request.headers, _bounded(request, limit + _FORM_OVERHEAD), max_files=1, max_fields=8)
    parser.spool_max_size = limit + _FORM_OVERHEAD  # larger ones would go to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(400, f"the form cannot be read: {getattr(error, 'message', 'no boundary')}") from error
    if others := [field for field in form if field != FILE]:
        raise HTTPException(422, f"there is no form field '{others[0]}'; send the file as the form field '{FILE}'")
    uploads = [value for value in form.values() if not isinstance(value, str)]
    if len(uploads) != 1:
        raise HTTPException(422, f"the form has no file; send it as the form field '{FILE}'")
    content = await uploads[0].read()
    if len(content) > limit:
        raise HTTPException(413, f"the file is larger than {limit:,} bytes")
    if not content:
        raise HTTPException(422, "the file is empty (0 bytes)")
    return uploads[0].filename or "", content


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """The body in chunks.

    Raises:
        HTTPException: It is larger than allowed.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise HTTPException(413, f"the file is larger than {limit:,} bytes")
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise HTTPException(413, f"the file is larger than {limit:,} bytes")
        yield chunk
