"""A small S3 server in this process: what pyarrow's real client asks for when it lists and reads a bucket."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def object_store(objects: Mapping[str, bytes]) -> Iterator[str]:
    """Serves ``objects`` (key → content) as a bucket; gives a URI with ``{}`` where the path inside the bucket goes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            key = unquote(url.path).lstrip("/").partition("/")[2]
            status, data, headers = 200, objects.get(key), {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            if not key and "list-type" in query:
                data = _listing(objects, query.get("prefix", ""))
            elif data is None:
                status, data = 404, b""
            elif asked := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                status, data = 206, data[first : last + 1]
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Nothing: requests are no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"s3://user:secret@bucket/{{}}?endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _listing(objects: Mapping[str, bytes], prefix: str) -> bytes:
    found = {key: data for key, data in sorted(objects.items()) if key.startswith(prefix)}
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key, data in found.items()
    )
    count = f"<KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult><Name>bucket</Name>{count}{contents}</ListBucketResult>".encode()
