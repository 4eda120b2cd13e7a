"""Every ordinary kind of picture file gives the right colours; every damaged one gives a reason and never a crash."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.pictures import QUADRANTS, encoded, quadrants, twemoji
from trainables.data.decode import MAX_PIXELS, Parts, decode, opened, our_limits

R = 32


def corners(data: bytes, background: str = "white") -> list[tuple[int, ...]]:
    """The colours at the centres of the four quadrants of the decoded picture."""
    with our_limits():
        pixels = decode(data, R, background).pixels
    assert pixels.shape == (3, R, R)
    assert pixels.dtype == np.uint8
    return [tuple(int(v) for v in pixels[:, y, x]) for y in (R // 4, 3 * R // 4) for x in (R // 4, 3 * R // 4)]


def assert_colours(data: bytes, expected: tuple[tuple[int, ...], ...], tolerance: int) -> None:
    np.testing.assert_allclose(np.array(corners(data)), np.array(expected), atol=tolerance)


def png_chunks(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file made by hand, for what Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_16_bit_rgb() -> bytes:
    pixels = np.asarray(quadrants()).astype(">u2") * 257
    return png_chunks(64, 64, 16, 2, b"".join(b"\0" + row.tobytes() for row in pixels))


COLOUR = {
    "png": lambda: encoded(quadrants(), "PNG"),
    "png-16-bit": png_16_bit_rgb,
    "jpeg": lambda: encoded(quadrants(), "JPEG", quality=95),
    "jpeg-progressive": lambda: encoded(quadrants(), "JPEG", quality=95, progressive=True),
    "jpeg-cmyk": lambda: encoded(quadrants().convert("CMYK"), "JPEG", quality=95),
    "jpeg-large": lambda: encoded(quadrants(1600, 1600), "JPEG", quality=95),
    "tiff-cmyk": lambda: encoded(quadrants().convert("CMYK"), "TIFF"),
    "tiff-ycbcr": lambda: encoded(quadrants().convert("YCbCr"), "TIFF"),
    "tiff-pages": lambda: encoded(quadrants(), "TIFF", save_all=True, append_images=[Image.new("RGB", (64, 64))]),
    "tiff-compressed": lambda: encoded(quadrants(), "TIFF", compression="tiff_lzw"),
    "ico": lambda: encoded(quadrants(), "ICO", sizes=[(16, 16), (64, 64)]),
    "ico-bitmap": lambda: encoded(quadrants(), "ICO", sizes=[(16, 16), (64, 64)], bitmap_format="bmp"),
    "webp": lambda: encoded(quadrants(), "WEBP", quality=95),
    "avif": lambda: encoded(quadrants(), "AVIF", quality=95),
    "jpeg2000": lambda: encoded(quadrants(), "JPEG2000"),
    "bmp": lambda: encoded(quadrants(), "BMP"),
    "ppm": lambda: encoded(quadrants(), "PPM"),
    "tga": lambda: encoded(quadrants(), "TGA"),
    "palette": lambda: encoded(quadrants().quantize(16), "PNG"),
    "gif": lambda: encoded(quadrants().quantize(16), "GIF"),
    "gif-animated": lambda: encoded(quadrants(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 64))]),
    "webp-animated": lambda: encoded(
        quadrants(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (64, 64))]
    ),
    "rgba-opaque": lambda: encoded(quadrants().convert("RGBA"), "PNG"),
    "upscaled": lambda: encoded(quadrants(8, 8), "PNG"),
}


@pytest.mark.parametrize("kind", COLOUR)
def test_colour_files(kind: str) -> None:
    assert_colours(COLOUR[kind](), QUADRANTS, tolerance=12)


GRAY = {
    "gray": lambda: encoded(quadrants().convert("L"), "PNG"),
    "gray-jpeg": lambda: encoded(quadrants().convert("L"), "JPEG", quality=95),
    "gray-16-bit": lambda: encoded(Image.fromarray(np.asarray(quadrants().convert("L")).astype(np.uint16) * 257), "PNG"),
    "gray-16-bit-tiff": lambda: encoded(Image.fromarray(np.asarray(quadrants().convert("L")).astype(np.uint16) * 257), "TIFF"),
    "gray-32-bit-tiff": lambda: encoded(Image.fromarray(np.asarray(quadrants().convert("L")).astype(np.int32) * 257), "TIFF"),
    "gray-float-unit": lambda: encoded(Image.fromarray(np.asarray(quadrants().convert("L")).astype(np.float32) / 255), "TIFF"),
    "gray-float-255": lambda: encoded(Image.fromarray(np.asarray(quadrants().convert("L")).astype(np.float32)), "TIFF"),
    "gray-alpha": lambda: encoded(quadrants().convert("LA"), "PNG"),
}


@pytest.mark.parametrize("kind", GRAY)
def test_gray_files(kind: str) -> None:
    gray = tuple((int(Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))),) * 3 for colour in QUADRANTS)
    assert_colours(GRAY[kind](), gray, tolerance=5)


def test_bilevel() -> None:
    bits = Image.new("1", (64, 64), 1)
    bits.paste(0, (0, 0, 32, 64))
    assert_colours(encoded(bits, "PNG"), ((0,) * 3, (255,) * 3, (0,) * 3, (255,) * 3), tolerance=2)


def transparent_left() -> Image.Image:
    image = quadrants().convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, 32, 64))
    return image


def palette_transparent_left(per_entry: bool) -> bytes:
    image = Image.new("P", (64, 64))
    image.putpalette([255, 0, 0, *QUADRANTS[1], *QUADRANTS[3]])
    image.paste(1, (32, 0, 64, 32))
    image.paste(2, (32, 32, 64, 64))
    return encoded(image, "PNG", transparency=bytes([0, 255, 255]) if per_entry else 0)


def colour_key_left() -> bytes:
    image = quadrants()
    image.paste((1, 2, 3), (0, 0, 32, 64))
    return encoded(image, "PNG", transparency=(1, 2, 3))


@pytest.mark.parametrize(
    "data",
    [
        encoded(transparent_left(), "PNG"),
        encoded(transparent_left(), "WEBP", lossless=True),
        palette_transparent_left(per_entry=True),
        palette_transparent_left(per_entry=False),
        colour_key_left(),
    ],
    ids=["rgba", "webp", "palette-alpha", "palette-key", "colour-key"],
)
def test_transparent_pixels_show_the_background(data: bytes) -> None:
    got = corners(data, background="#102030")
    assert got[0] == got[2] == (16, 32, 48)
    np.testing.assert_allclose(got[1], QUADRANTS[1], atol=2)


def test_hidden_colour_of_transparent_pixels_does_not_bleed() -> None:
    image = Image.new("RGBA", (96, 96), (255, 0, 0, 0))  # transparent red
    image.paste((255, 255, 255, 255), (48, 0, 96, 96))
    with our_limits():
        pixels = decode(encoded(image, "PNG"), R, "white").pixels
    assert int(pixels.min()) >= 253


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = quadrants(80, 64)
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("JPEG", "PNG"):
        assert_colours(encoded(stored, kind, exif=exif), QUADRANTS, tolerance=12)


def test_damaged_exif_is_ignored() -> None:
    assert_colours(encoded(quadrants(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), QUADRANTS, tolerance=12)


def test_crop_is_the_centre() -> None:
    wide = Image.new("RGB", (200, 64), "black")
    wide.paste(quadrants(), (68, 0))
    assert_colours(encoded(wide, "PNG"), QUADRANTS, tolerance=2)
    assert_colours(
        encoded(wide.transpose(Image.Transpose.TRANSPOSE), "PNG"), tuple(QUADRANTS[i] for i in (0, 2, 1, 3)), tolerance=2
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    np.testing.assert_allclose(corners(encoded(Image.new("RGB", size, (9, 99, 199)), "PNG")), [(9, 99, 199)] * 4, atol=1)


def test_picture_of_the_target_size_is_not_resampled() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (R, R, 3), dtype=np.uint8)
    with our_limits():
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(noise), "PNG"), R, "white").pixels, noise.transpose(2, 0, 1))


def test_decompression_bomb_is_refused_with_its_size() -> None:
    # 400 Mpx in a file of a few hundred bytes; refused from the header, so the missing rows do not matter.
    with our_limits(), pytest.raises(ValueError, match=r"20000 x 20000 = 400 Mpx; at most 100 Mpx"):
        decode(png_chunks(20000, 20000, 8, 2, b"\0"), R, "white")


@pytest.mark.parametrize("inside", ["png", "bitmap"])
def test_decompression_bomb_in_an_icon(inside: str) -> None:
    # Its header says 16 x 16; Pillow decodes what is inside as soon as it opens the file.
    bitmap = struct.pack("<IIIHHIIIIII", 40, 20000, 40000, 1, 8, 1, 0, 0, 0, 0, 0)
    content = png_chunks(20000, 20000, 8, 2, b"\0") if inside == "png" else bitmap
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(content), 22) + content
    with our_limits(), pytest.raises(ValueError, match=r"20000 x [24]0000 = [48]00 Mpx; at most 100 Mpx"):
        decode(icon, R, "white")


def test_pillow_limit_is_restored() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with our_limits():
        pass
    assert before == Image.MAX_IMAGE_PIXELS


def test_huge_jpeg_is_decoded_at_reduced_size() -> None:
    data = encoded(Image.new("L", (12000, 9000), 77), "JPEG")
    assert MAX_PIXELS < 12000 * 9000
    np.testing.assert_allclose(corners(data), [(77, 77, 77)] * 4, atol=1)


PNG = (twemoji() / "1f600.png").read_bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (b"<html>404</html>", "not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (PNG[: len(PNG) // 2], "truncated"),
        (PNG[:40], "first bytes are damaged"),
        (encoded(quadrants(), "JPEG")[:-200], "[Tt]runcated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (encoded(Image.fromarray(np.full((8, 8), 1e6, np.float32)), "TIFF"), "which one is white"),
        (encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "which one is white"),
    ],
    ids=["empty", "text", "html", "lfs", "half-png", "header-only", "cut-jpeg", "eps", "float", "nan"],
)
def test_unusable_files_have_a_reason(data: bytes, reason: str) -> None:
    with our_limits(), pytest.raises(ValueError, match=reason) as caught:
        decode(data, R, "white")
    assert str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        "jpeg",
        "webp",
        "gif",
        "tga",
        "bmp",
        "tiff-cmyk",
        "tiff-compressed",
        "ico",
        "ico-bitmap",
        "avif",
        "jpeg2000",
        "ppm",
        "palette",
    ],
)
def test_damaged_bytes_never_escape_as_another_error(kind: str) -> None:
    good = COLOUR[kind]()
    rng = random.Random(kind)
    refused = 0
    with our_limits():
        for _ in range(60):
            damaged = bytearray(good)
            for _ in range(rng.randint(1, 20)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            try:
                decoded = decode(bytes(damaged[: rng.randint(len(good) // 2, len(good))]), R, "white")
            except ValueError:
                refused += 1
            else:
                assert decoded.pixels.shape == (3, R, R)
    assert refused, "nothing was damaged enough to be told from a picture"


def whole_picture(data: bytes, mode: str, background: str = "white") -> np.ndarray:
    with our_limits(), opened(data) as image:
        parts = Parts(image, mode, background)
    return parts(0, 0, *parts.size)


@pytest.mark.parametrize("name", COLOUR)
def test_a_whole_picture_has_its_own_size(name: str) -> None:
    pixels = whole_picture(COLOUR[name](), "RGB")
    channels, height, width = pixels.shape
    assert (channels, height) == (3, width)
    found = [pixels[:, y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    np.testing.assert_allclose(np.array(found), np.array(QUADRANTS), atol=12)


def test_a_whole_picture_is_upright_and_writable() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = whole_picture(encoded(quadrants(40, 20), "PNG", exif=exif), "RGB")
    expected = np.asarray(quadrants(40, 20).transpose(Image.Transpose.ROTATE_270)).transpose(2, 0, 1)
    assert np.array_equal(turned, expected)
    for size in ((40, 20), (1, 1)):
        pixels = whole_picture(encoded(quadrants(*size), "PNG"), "RGB")
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous


def test_a_whole_picture_s_transparency() -> None:
    image = quadrants(8, 8)
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 8))
    image.putalpha(alpha)
    data = encoded(image, "PNG")
    assert np.array_equal(whole_picture(data, "RGBA"), np.asarray(image).transpose(2, 0, 1))
    laid = whole_picture(data, "RGB", "#010203")
    assert np.array_equal(laid[:, :, :4], np.broadcast_to(np.array([[[1]], [[2]], [[3]]]), (3, 8, 4)))
    assert np.array_equal(laid[:, :, 4:], np.asarray(quadrants(8, 8)).transpose(2, 0, 1)[:, :, 4:])
    assert (whole_picture(encoded(quadrants(8, 8), "PNG"), "RGBA")[3] == 255).all()


def test_a_whole_picture_is_bounded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(ValueError, match="at most 100 Mpx are decoded"):
        whole_picture(png_chunks(side, side, 8, 0, b""), "RGB")
    with pytest.raises(ValueError, match="the file is empty"):
        whole_picture(b"", "RGB")
