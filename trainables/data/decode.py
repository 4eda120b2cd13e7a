"""Bytes of any ordinary picture file → an RGB square to train on (`decode`), or the picture as it is (`opened` and `Parts`).

Square: centre crop, antialiased Lanczos resize (as StyleGAN's dataset tool), alpha laid on a background after the resize on
premultiplied values. Both: EXIF orientation applied, the first frame of an animation. Embedded colour profiles are ignored, as
by torchvision's ``ImageFolder``.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""Pictures that need more pixels than this in memory are refused: 100 Mpx take up to 1.3 GB while they are resized."""
_HUGE_PIXELS = 16_000_000

# Only formats that are pixels: Pillow would also run Ghostscript for EPS, and open formats without bounds.
_FORMATS = ["PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "JPEG2000", "TGA", "PPM", "ICO"]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

_one_huge_picture = threading.Lock()
_own_limits = threading.RLock()


@dataclass(frozen=True)
class Decoded:
    """A decoded picture: ``pixels`` uint8 [3, R, R] or [3, H, W]; of the file (width, height), Pillow's mode and format."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    mode: str
    format: str


@contextmanager
def our_limits() -> Iterator[None]:
    """Puts this module's bound on pixels in place of Pillow's, and silences its warnings, which name no file.

    Both are settings of the process: enter it once around many `decode` calls, in the thread that waits for them.
    """
    with _own_limits, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def decode(data: bytes, resolution: int, background: str) -> Decoded:
    """Decodes one picture file to uint8 [3, resolution, resolution]; inside `our_limits`, in any thread.

    Raises:
        ValueError: it cannot be decoded; the message is a reason fit to stand beside the file's name.
    """
    with opened(data) as image:
        return _decode(image, resolution, background)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """A picture file of which only the header is read, for a block that decodes it; inside `our_limits`, in any thread.

    Raises:
        ValueError: it cannot be opened, or decoding it in the block fails; the message is a reason fit to stand beside the
            file's name.
    """
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(b"version https://git-lfs"):
        raise ValueError("a Git LFS pointer, not the picture itself (run `git lfs pull`)")
    try:
        _refuse_icon_bomb(data)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            yield image
    except UnidentifiedImageError:
        raise ValueError("not a picture in a format that is read, or its first bytes are damaged") from None
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except Exception as error:  # of damaged files, Pillow lets many kinds escape: struct.error, EOFError, KeyError, …
        raise ValueError(f"decoding it failed: {type(error).__name__} {error}".rstrip()) from error


class Parts:
    """An `opened` picture, upright and at its own size, of which parts are converted when they are asked for.

    Args:
        mode: RGB lays transparent pixels on ``background``; RGBA keeps the alpha channel, or makes one that is opaque everywhere.

    Raises:
        ValueError: it has more than `MAX_PIXELS`.
    """

    def __init__(self, image: Image.Image, mode: str, background: str) -> None:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(*image.size)
        image.load()
        deep = image.mode.startswith("I") or image.mode == "F"  # what is white is seen of the whole picture
        self._image = _upright(Image.fromarray(_to_8_bit(np.asarray(image))) if deep else image, image)
        self._mode, self._background = mode, background

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._image.height, self._image.width

    def __call__(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.uint8]:
        """uint8 [3, h, w] for mode RGB, [4, h, w] for RGBA."""
        colour = _to_colour(self._image.crop((left, top, right, bottom)))
        colour = colour.convert("RGBA") if self._mode == "RGBA" else _laid_on(self._background, colour)
        return np.asarray(colour).transpose(2, 0, 1).copy()


def decode_native(data: bytes, resolution: int, background: str) -> Decoded:
    """Decodes one picture file to all of its pixels, uint8 [3, H, W]; else as `decode`.

    Raises:
        ValueError: as `decode`, or a side is less than ``resolution``, so that no crop fits.
    """
    with opened(data) as image:
        size, mode, kind = image.size, image.mode, image.format or "?"
        if min(size) < resolution:
            raise ValueError(f"{size[0]} x {size[1]} pixels, smaller than the crops of {resolution} px that `crop: native` takes")
        with _one_huge_picture if size[0] * size[1] > _HUGE_PIXELS else nullcontext():
            parts = Parts(image, "RGB", background)
            return Decoded(parts(0, 0, *parts.size), size, mode, kind)


def _decode(image: Image.Image, resolution: int, background: str) -> Decoded:
    size, mode, kind = image.size, image.mode, image.format or "?"
    if kind in ("JPEG", "MPO"):
        # Libjpeg decodes at 1/2, 1/4 or 1/8 size: faster, and bounded in memory. The last halving is left to Lanczos.
        image.draft(None, (2 * resolution, 2 * resolution))
    # A progressive JPEG keeps the coefficients of the whole picture whatever size it is decoded at.
    width, height = size if image.info.get("progressive") else image.size
    if width * height > MAX_PIXELS:
        raise _too_large(*size)
    with _one_huge_picture if width * height > _HUGE_PIXELS else nullcontext():
        image.load()
        square = _to_colour(_centre(image)).resize((resolution, resolution), Image.Resampling.LANCZOS, reducing_gap=3.0)
    # Turned after the resize, where it is cheap: crop and resize are the same along both axes.
    square = _upright(_laid_on(background, square), image)
    return Decoded(np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1)), size, mode, kind)


def _too_large(width: int, height: int) -> ValueError:
    mpx = width * height / 1e6
    return ValueError(f"{width} x {height} = {mpx:.0f} Mpx; at most {MAX_PIXELS / 1e6:.0f} Mpx are decoded: shrink it")


def _refuse_icon_bomb(data: bytes) -> None:
    """Pillow decodes an ICO while it opens it, at the size of the PNG or bitmap inside, whatever the icon's own header says."""
    if not data.startswith(b"\0\0\1\0"):
        return
    (count,) = struct.unpack_from("<H", data, 4)
    for entry in range(count):
        (offset,) = struct.unpack_from("<I", data, 6 + 16 * entry + 12)
        is_png = data[offset : offset + 4] == b"\x89PNG"
        width, height = struct.unpack_from(">II" if is_png else "<II", data, offset + (16 if is_png else 4))
        if width * height > MAX_PIXELS:
            raise _too_large(width, height)


def _centre(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((left, top, left + side, top + side))


def _to_colour(image: Image.Image) -> Image.Image:
    """Any mode → RGB, or RGBA where the picture has transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _laid_on(background: str, image: Image.Image) -> Image.Image:
    """RGB or RGBA → RGB."""
    if image.mode == "RGB":
        return image
    canvas = Image.new("RGBA", image.size, ImageColor.getrgb(background))
    return Image.alpha_composite(canvas, image).convert("RGB")


def _upright(picture: Image.Image, image: Image.Image) -> Image.Image:
    """``picture``, made of ``image``, turned as the EXIF data of ``image`` say."""
    turn = _UPRIGHT.get(_orientation(image))
    return picture if turn is None else picture.transpose(turn)


def _to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Deep grayscale → 8 bits. Integers are 16-bit, floats are in [0, 1] or in [0, 255]; anything else has no known white."""
    x = values.astype(np.float32)
    low, high = float(x.min()), float(x.max())
    is_float = values.dtype.kind == "f"
    white = (1.0 if high <= 1.0 else 255.0) if is_float else 65535.0
    if not (low >= 0.0 and high <= white):
        raise ValueError(f"values from {low:g} to {high:g} in mode {'F' if is_float else 'I'}: it is unknown which one is white")
    x *= 255.0 / white  # in place: it may be 400 MB
    return np.rint(x, out=x).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF, of which Pillow raises many kinds: the pixels are good, so the picture is
        return 1
