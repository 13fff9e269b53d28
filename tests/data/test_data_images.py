from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tailwise.data import images
from tailwise.data.images import read_header, read_pixels, survey
from tailwise.errors import BadData, BadValue

# A picture without symmetry: every turn of it is another picture.
CORNERS = np.array([[250, 180, 120], [60, 10, 90]], dtype=np.uint8)


def save(array, file, **options):
    Image.fromarray(array).save(file, **options)
    return file


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_a_grey_file_are_its_values_in_every_channel(tmp_path, channels):
    pixels = read_pixels(save(CORNERS, tmp_path / "a.png"), None, channels)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, np.repeat(CORNERS[..., None], channels, axis=2))


def test_colour_becomes_grey_by_itu_r_601(tmp_path):
    file = save(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8), tmp_path / "a.png")
    np.testing.assert_allclose(read_pixels(file, channels=1)[0, :, 0], [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied_and_the_header_agrees(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colour = np.repeat(CORNERS[..., None], 3, axis=2)
    # What a viewer must show for each value, written as turns of the stored picture (EXIF 2.32, tag 274).
    upright = {
        1: colour,
        2: colour[:, ::-1],
        3: colour[::-1, ::-1],
        4: colour[::-1],
        5: colour.transpose(1, 0, 2),
        6: np.rot90(colour, -1),
        7: np.rot90(colour, 2).transpose(1, 0, 2),
        8: np.rot90(colour, 1),
    }[orientation]
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    file = save(colour, tmp_path / f"a.{suffix}", exif=exif, **options)
    np.testing.assert_array_equal(read_pixels(file), upright)
    assert read_header(file)[:2] == (upright.shape[1], upright.shape[0])


def test_exif_rotation_of_a_jpeg_turns_header_and_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(np.zeros((10, 30, 3), np.uint8), tmp_path / "a.jpg", exif=exif)
    assert read_header(file) == (10, 30, "RGB")
    assert read_pixels(file).shape == (30, 10, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    file = save(np.zeros((3, 5, 3), np.uint8), tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffjunk")
    assert read_header(file)[:2] == (5, 3)
    assert read_pixels(file).shape == (3, 5, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_keeps_its_upper_8_bits(tmp_path, channels):
    values = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for suffix in ("png", "tif", "pgm"):
        pixels = read_pixels(save(values, tmp_path / f"a.{suffix}"), None, channels)
        np.testing.assert_array_equal(pixels[0, :, 0], [0, 0, 1, 128, 255])


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    pixels = read_pixels(save(rgba, tmp_path / "a.png"))
    np.testing.assert_allclose(pixels[0], [[255, 0, 0], [255, 255, 255], [127, 127, 127]], atol=1)
    black, alpha = (Image.fromarray(np.array([values], dtype=np.uint8)) for values in ([0, 0], [255, 0]))
    Image.merge("LA", [black, alpha]).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "b.png", channels=1)[0, :, 0], [0, 255])


def test_a_transparent_palette_colour_is_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "a.png", transparency=1)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png")[0], [[10, 20, 30], [255, 255, 255]])
    palette.save(tmp_path / "b.gif")
    np.testing.assert_array_equal(read_pixels(tmp_path / "b.gif")[0], [[10, 20, 30], [40, 50, 60]])


def test_a_transparent_value_of_16_bit_grey_is_white(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">HH", 0x1234, 0x1235))
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", struct.pack(">H", 0x1234)) + chunk(b"IDAT", row) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png")[0, :, 0], [255, 0x12])


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_one_colour_of_a_png_or_gif_that_is_to_be_seen_through_is_white(tmp_path, mode):
    picture = Image.fromarray(np.array([[9, 100]], dtype=np.uint8)).convert(mode)
    clear = (9, 9, 9) if mode == "RGB" else picture.getpixel((0, 0))
    for suffix in ("png", "gif") if mode == "P" else ("png",):
        picture.save(tmp_path / f"a.{suffix}", transparency=clear)
        assert read_pixels(tmp_path / f"a.{suffix}")[0].tolist() == [[255] * 3, [100] * 3]


def test_grey_and_colour_with_alpha_of_other_formats_lie_on_white(tmp_path):
    rgba = Image.fromarray(np.array([[[200, 10, 10, 255], [0, 0, 0, 0]]], dtype=np.uint8))
    for suffix, options in (("tif", {}), ("webp", {"lossless": True}), ("png", {})):
        rgba.save(tmp_path / f"a.{suffix}", **options)
        np.testing.assert_array_equal(read_pixels(tmp_path / f"a.{suffix}")[0], [[200, 10, 10], [255, 255, 255]])


def test_cmyk_and_one_bit_become_colour(tmp_path):
    """Adobe's programs write CMYK JPEG with the values turned round, and the mark that says so; what Pillow writes is like theirs."""
    for colour, expected in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)):
        Image.new("CMYK", (4, 4), colour).save(tmp_path / "a.jpg")
        Image.new("CMYK", (4, 4), colour).save(tmp_path / "a.tif")
        for name in ("a.jpg", "a.tif"):
            assert np.abs(read_pixels(tmp_path / name).astype(int) - expected).max() < 6
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    np.testing.assert_allclose(read_pixels(tmp_path / "cyan.jpg")[0, 0], [0, 255, 255], atol=3)
    Image.new("1", (4, 4), 1).save(tmp_path / "b.png")
    assert read_pixels(tmp_path / "b.png").min() == 255


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_picture_is_read(tmp_path, suffix):
    first, second = (Image.new("RGB", (4, 6), colour) for colour in ("red", "blue"))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], **({"lossless": True} if suffix == "webp" else {}))
    assert Image.open(tmp_path / f"a.{suffix}").n_frames == 2
    assert read_header(tmp_path / f"a.{suffix}")[:2] == (4, 6)
    np.testing.assert_array_equal(read_pixels(tmp_path / f"a.{suffix}")[0, 0], [255, 0, 0])


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_of_tiff_become_rgb(tmp_path, mode):
    Image.new("RGB", (2, 2), (200, 10, 10)).convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read_pixels(tmp_path / "a.tif")[0, 0], [200, 10, 10], atol=6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_rotation_of_a_jpeg_turns_header_and_pixels_alike(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = np.kron(CORNERS, np.ones((16, 16), np.uint8))
    file = save(blocks, tmp_path / "a.jpg", exif=exif, quality=100)
    expected = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.T,
        6: np.rot90(CORNERS, -1),
        7: np.rot90(CORNERS, 2).T,
        8: np.rot90(CORNERS, 1),
    }[orientation]
    pixels = read_pixels(file, channels=1)[..., 0]
    np.testing.assert_allclose(pixels[8::16, 8::16], expected, atol=2)
    assert read_header(file)[:2] == pixels.shape[::-1]


def test_float_and_32_bit_pixels_are_refused(tmp_path):
    with pytest.raises(BadData, match=r"a\.tif: floating-point pixels"):
        read_pixels(save(np.zeros((2, 2), np.float32), tmp_path / "a.tif"))
    with pytest.raises(BadData, match="more than 16 bits"):
        read_pixels(save(np.full((2, 2), 70000, np.int32), tmp_path / "b.tif"))


@pytest.mark.parametrize(("width", "height"), [(50, 30), (30, 50), (31, 32), (24, 24), (24, 61), (7, 5), (1, 9)])
def test_resize_and_crop_is_torchvisions_to_one_grey_level(tmp_path, width, height):
    size = 24
    array = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # torchvision's Resize(size) and CenterCrop(size), written out.
    wide, high = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    whole = np.asarray(Image.fromarray(array).resize((wide, high), Image.Resampling.BILINEAR))
    top, left = round((high - size) / 2.0), round((wide - size) / 2.0)
    expected = whole[top : top + size, left : left + size].astype(int)
    found = read_pixels(save(array, tmp_path / "a.png"), size).astype(int)
    assert found.shape == (size, size, 3)
    assert np.abs(found - expected).max() <= 1


def test_a_very_long_image_is_resized_without_harm(tmp_path):
    file = save(np.full((1, 60000), 9, np.uint8), tmp_path / "a.png")
    assert (read_pixels(file, 224) == 9).all()


def test_a_name_says_nothing_about_the_format(tmp_path):
    file = save(CORNERS, tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_pixels(file, channels=1)[..., 0], CORNERS)


def huge_png(file, width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b""))
    return file


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9500, 30000, 50000])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, side, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for read in (read_header, read_pixels):
        with pytest.raises(BadData, match=r"a\.png: .*more than 89,478,485 pixels"):
            read(huge_png(tmp_path / "a.png", side, side))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<html>not found</html>", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "format PostScript is not read here"),
        (b"\n<!DOCTYPE html><svg>", r"known format \(a web page\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"a Git-LFS pointer: `git lfs pull`"),
        (b"words, among them <svg>", "not an image of a known format;"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "format HEIC is not read here"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "format AVIF is not read here"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "format RAW is not read here"),
        (b"FUJIFILMCCD-RAW 0201", "format RAW is not read here"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn --><svg width="9">', "format SVG is not read here"),
        (b"<svg/>", "format SVG is not read here"),
        (b"<!--" * 250, "not an image of a known format"),
        (b"\xff\x0a\xfa\x1f", "format JPEG XL is not read here"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "format JPEG 2000 is not read here"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ""),
        (b"GIF89a", ""),
        (b"BM", ""),
        (b"\xff\xd8\xff\xe0", ""),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, content, message):
    file = tmp_path / "broken.jpg"
    file.write_bytes(content)
    for read in (read_header, read_pixels):
        with pytest.raises(BadData, match=rf"broken\.jpg: .*{message}") as caught:
            read(file)
        assert "\n" not in str(caught.value)


def test_the_name_of_a_bad_file_survives_the_way_out_of_a_worker(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    with pytest.raises(BadData) as caught:
        read_pixels(tmp_path / "bad.jpg")
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, BadData)
    assert "bad.jpg: an empty file" in str(again)


def test_a_raw_file_is_not_read_as_its_preview(tmp_path):
    """Cameras write TIFF whose first page is a small picture of the picture."""
    preview = Image.new("RGB", (160, 120))
    preview.save(tmp_path / "a.dng", "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    preview.save(tmp_path / "a.nef", "TIFF", tiffinfo={254: 1, 330: 8})
    preview.save(tmp_path / "thumb.tif", "TIFF", tiffinfo={254: 1})
    preview.save(tmp_path / "pyramid.tif", "TIFF", tiffinfo={330: 8})
    canon = bytearray(save(np.zeros((9, 9), np.uint8), tmp_path / "b.tif").read_bytes())
    entries = struct.unpack_from("<I", canon, 4)[0]
    (tmp_path / "b.cr2").write_bytes(canon[:4] + struct.pack("<I", len(canon)) + b"CR" + canon[10:] + canon[entries:])
    for name in ("a.dng", "a.nef", "b.cr2"):
        for read in (read_header, read_pixels):
            with pytest.raises(BadData, match=rf"{name}: format RAW is not read here"):
                read(tmp_path / name)
    for name in ("thumb.tif", "pyramid.tif"):
        assert read_pixels(tmp_path / name).shape == (120, 160, 3)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(BadData, match=r"none\.png: cannot be opened \(No such file"):
        read_pixels(tmp_path / "none.png")


def outcome(file):
    """Read a file that may be damaged: pixels, or one line that names it."""
    try:
        pixels = read_pixels(file, 8)
    except BadData as error:
        return "refused" if str(file) in str(error) and "\n" not in str(error) else f"refused badly: {error}"
    return "read" if pixels.shape == (8, 8, 3) else f"read as {pixels.shape}"


# Pillow warns of what it skips in damaged files; here only the outcome counts.
damaged = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


@damaged
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm"])
def test_a_file_cut_off_at_any_place_is_refused_or_read_never_anything_else(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    whole = save(array, tmp_path / f"a.{suffix}").read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    refused = 0
    for length in range(0, len(whole) - 1, 7):
        cut.write_bytes(whole[:length])
        refused += outcome(cut) == "refused"
    assert refused > 5


@damaged
@pytest.mark.fuzz
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm"])
def test_changed_bytes_give_pixels_or_bad_data(tmp_path, suffix):
    draw = np.random.default_rng(0)
    whole = np.frombuffer(save(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8), tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
    file = tmp_path / f"b.{suffix}"
    for _ in range(60):
        changed = whole.copy()
        changed[draw.integers(0, min(len(whole), 120), 4)] = draw.integers(0, 256, 4)
        file.write_bytes(changed.tobytes())
        assert outcome(file) in ("read", "refused")


@damaged
@pytest.mark.fuzz
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"GIF89a", b"II*\0", b"P6 9 9 255\n"]),
    rest=st.binary(max_size=200),
)
def test_any_bytes_give_pixels_or_bad_data(tmp_path, start, rest):
    file = tmp_path / "a.jpg"
    file.write_bytes(start + rest)
    assert outcome(file) in ("read", "refused")


def test_size_and_channels_are_checked(tmp_path):
    file = save(CORNERS, tmp_path / "a.png")
    with pytest.raises(BadValue, match="size 0"):
        read_pixels(file, 0)
    with pytest.raises(BadValue, match="channels 4"):
        read_pixels(file, None, 4)


def test_survey_gives_sizes_greyness_and_sameness(tmp_path, write_image):
    grey = [write_image(tmp_path / f"{i}.png", mode="L") for i in range(3)]
    found = survey(grey)
    assert (found.channels, found.same_size) == (1, True)
    np.testing.assert_array_equal(found.sizes, [[6, 4]] * 3)
    found = survey([*grey, write_image(tmp_path / "c.png", size=(5, 4))])
    assert (found.channels, found.same_size) == (3, False)


def test_survey_names_five_broken_files_and_counts_all(tmp_path, write_image):
    files = [write_image(tmp_path / "good.png")]
    for i in range(7):
        files.append(tmp_path / f"bad{i}.png")
        files[-1].write_text("no image")
    with pytest.raises(BadData, match=r"7 of 8 images cannot be read: .*bad0\.png \(not an image.*bad4\.png .* and 2 more; ") as caught:
        survey(files)
    assert "bad5" not in str(caught.value)


def test_survey_of_nothing_is_refused():
    with pytest.raises(BadData, match="no images to survey"):
        survey([])


def test_upper_case_endings_are_images():
    assert images.is_image_name("x/A.JPeG")
    assert not images.is_image_name("x/a.txt")
    assert not any(map(images.is_image_name, ("x/.jpg", ".jpg", "jpg", "a.jpg/b", "")))
    assert images.is_image_name("x.d/a.b.jpg")
