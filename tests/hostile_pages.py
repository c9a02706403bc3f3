"""Files that say they are pages, and are not, or not only."""

import os
import struct
import zlib

import numpy as np
from PIL import Image


def quadrants(size=32):
    """Black, red / green, blue, so that every turn and flip shows."""
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    pixels[:half, half:] = (255, 0, 0)
    pixels[half:, :half] = (0, 255, 0)
    pixels[half:, half:] = (0, 0, 255)
    return pixels


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, mode=2, depth=8):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


def html(path):
    path.write_text("<!DOCTYPE html><title>404</title>")


def truncated(path, save_as="JPEG"):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(path, save_as)
    path.write_bytes(path.read_bytes()[:-3000])


def header_of_60000_squared(path):
    path.write_bytes(png(60_000, 60_000, png_chunk(b"IDAT", zlib.compress(b"\0" * 100))))


def bomb_of_12000_squared(path):
    Image.new("L", (12_000, 12_000)).save(path, "PNG")


def ztxt_bomb(path):
    text = b"comment\0\0" + zlib.compress(b"\0" * 80_000_000, 9)
    path.write_bytes(png(1, 1, png_chunk(b"zTXt", text), png_chunk(b"IDAT", zlib.compress(b"\0" * 4))))


def eps(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch /tmp/pwned) (w) file\n")


def flipped_bits(path):
    Image.fromarray(quadrants()).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 0xFF
    path.write_bytes(content)


BAD = {
    "zero bytes": (lambda path: path.write_bytes(b""), "empty"),
    "HTML": (html, "HTML"),
    "PDF": (lambda path: path.write_bytes(b"%PDF-1.7\n"), "PDF"),
    "EPS under another name": (eps, "PostScript"),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 9), "not an image"),
    "header alone": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "damaged"),
    "truncated JPEG": (truncated, "truncated"),
    "truncated PNG": (lambda path: truncated(path, "PNG"), "truncated"),
    "truncated TIFF": (lambda path: truncated(path, "TIFF"), "damaged"),
    "truncated BMP": (lambda path: truncated(path, "BMP"), "truncated"),
    "truncated GIF": (lambda path: truncated(path, "GIF"), "truncated"),
    "truncated WEBP": (lambda path: truncated(path, "WEBP"), "damaged"),
    "flipped bits": (flipped_bits, "damaged"),
    "60000 squared header": (header_of_60000_squared, "max_pixels"),
    "12000 squared bomb": (bomb_of_12000_squared, "12000 x 12000 pixels"),
    "zTXt bomb": (ztxt_bomb, "too large"),
    "directory": (lambda path: path.mkdir(), "not a regular file"),
    "pipe": (os.mkfifo, "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "link to nowhere": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
    "missing": (lambda path: None, "no such file"),
}
