"""Audio as bytes: codecs, containers, catalogs and files.

Everything here is a function of its arguments: no I/O, no clock, no event loop. PCM is
always signed 16-bit little-endian, interleaved; times are integer microseconds. Import the
module that is needed (`moqvox.media.opus`, `moqvox.media.ogg`, ...): this package itself
loads nothing, so that a program without numpy or libopus can use the rest.
"""
