"""What a file that is no .caffemodel looks like, for an error message that helps."""

from __future__ import annotations

HEAD = 512  # bytes of a file that are looked at

SIGNATURES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture, or other RIFF data",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PK\x03\x04": "a zip archive, as PyTorch's .pt and numpy's .npz are; unpack it if the model is inside",
    b"\x1f\x8b": "gzip data; unpack it first",
    b"BZh": "bzip2 data; unpack it first",
    b"\xfd7zXZ\x00": "xz data; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x93NUMPY": "a numpy array",
    b"\x80\x02": "a Python pickle; those are never opened here",
    b"%PDF": "a PDF document",
}


def lookalike(head: bytes) -> str | None:
    """What a file that begins with ``head`` seems to be; None if nothing known."""
    for start, name in SIGNATURES.items():
        if head.startswith(start):
            return name
    if head[8:10] == b'{"':
        return "a safetensors file"
    if head[:1] == b"\x08":  # no NetParameter begins so
        if b".caffemodel" in head:
            return "a .solverstate; the weights are in the .caffemodel that was written with it"
        if head[2:3] == b"\x10":
            return "a .binaryproto, such as a mean picture"
        if head[2:3] == b"\x12":
            return "an ONNX model"
    if head and not head.strip(b"\0"):
        return "zeros, as an unfinished download leaves them"
    return _text(head)


def _text(head: bytes) -> str | None:
    """What kind of text it is; None if it is none."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character cut by the end of head
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not all(letter.isprintable() or letter in "\t\r\n" for letter in text):
        return None
    if text.startswith("version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; run `git lfs pull`"
    if text.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        return "a web page; the download went wrong"
    return "text; if it is a .prototxt, give it as such"
