"""The hang catalog: which tracks a broadcast has and how to decode them.

One JSON object on the track `catalog.json`, published again, whole or as a merge patch, at each
change; `moqvox.media.snapshot` follows such a track. The format has no version. Only the audio
section is read here. Every other section is kept as it came, so that it can be published again;
fields of a rendition that this does not know are dropped.
"""

import binascii
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from moqvox.errors import LocalError, MediaError
from moqvox.media.container import ContainerKind
from moqvox.media.opus import SAMPLE_RATES
from moqvox.media.opus_head import OpusHead
from moqvox.media.snapshot import MAX_FRAME_BYTES, JsonObject, SnapshotReader, parse_object

__all__ = [
    "CATALOG_TRACK",
    "COMPRESSED_CATALOG_TRACK",
    "MAX_CATALOG_BYTES",
    "AudioRendition",
    "Catalog",
    "CatalogReader",
    "Container",
    "Timeline",
    "catalog_of",
    "decode_catalog",
    "opus_rendition",
]

CATALOG_TRACK = "catalog.json"
COMPRESSED_CATALOG_TRACK = "catalog.json.z"

MAX_CATALOG_BYTES = MAX_FRAME_BYTES
_MAX_RENDITIONS = 256
_MAX_TEXT = 1024

_Text = Annotated[str, Meta(max_length=_MAX_TEXT)]
_Positive = Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]


class Container(Struct, frozen=True, omit_defaults=True):
    """How frames of a rendition are laid out. `init` is cmaf's header, base64."""

    kind: _Text
    init: str | None = None


class Timeline(Struct, frozen=True, omit_defaults=True):
    """A track that lists when the groups of a rendition start."""

    track: _Text
    timescale: _Positive = 1000
    wall: _Count | None = None


class AudioRendition(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One audio track. `bitrate` is bits per second, `jitter` the longest wait for a frame in ms.

    `description` is what the decoder needs to begin, in hex: an OpusHead for Opus. `broadcast`
    names another broadcast that has the track, relative to the catalog's.
    """

    codec: _Text
    sample_rate: Annotated[int, Meta(ge=1, le=768_000)]
    number_of_channels: Annotated[int, Meta(ge=1, le=255)]
    bitrate: _Count | None = None
    description: Annotated[str, Meta(max_length=65_536)] | None = None
    container: Container = field(default_factory=lambda: Container(kind="legacy"))
    jitter: _Count | None = None
    broadcast: _Text | None = None
    timeline: Timeline | None = None

    @property
    def container_kind(self) -> ContainerKind | None:
        """The container, or None if it is one of the future: then leave the track alone."""
        try:
            return ContainerKind(self.container.kind)
        except ValueError:
            return None

    @property
    def is_opus(self) -> bool:
        """Whether this is Opus in a container that is read here."""
        readable = (ContainerKind.LEGACY, ContainerKind.LOC)
        return self.codec.lower() == "opus" and self.container_kind in readable

    def opus_head(self) -> OpusHead | None:
        """Read the description; None if there is none (browsers send none for Opus).

        Raises:
            MediaError: it is not hex or not an OpusHead.
        """
        if not self.description:
            return None
        try:
            head = binascii.unhexlify(self.description)
        except ValueError as error:
            raise MediaError(f"rendition description is not hex: {error}") from error
        return OpusHead.decode(head)


class Catalog(Struct, frozen=True):
    """What a broadcast offers: audio renditions by track name, and the other sections.

    `unusable` says, by track name, why a rendition could not be read; it is not encoded. One
    bad rendition does not take the rest of the catalog with it.
    """

    audio: dict[str, AudioRendition] = field(default_factory=dict)
    others: JsonObject = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the catalog as one JSON frame, a snapshot.

        Raises:
            LocalError: larger than a reader would take.
        """
        document: dict[str, object] = {**self.others, "audio": {"renditions": self.audio}}
        text = msgspec.json.encode(document)
        if len(text) > MAX_CATALOG_BYTES:
            raise LocalError(f"catalog of {len(text)} bytes, at most {MAX_CATALOG_BYTES}")
        return text

    def first_opus(self) -> tuple[str, AudioRendition] | None:
        """Return the first Opus rendition that is read here, with its track name."""
        for name, rendition in self.audio.items():
            if rendition.is_opus:
                return name, rendition
        return None


class CatalogReader:
    """Follows a catalog track. Call `start` at each group, then `push` its frames in order."""

    def __init__(self, *, compressed: bool = False) -> None:
        self._snapshot = SnapshotReader(compressed=compressed)

    def start(self) -> None:
        """Begin a group: the next frame is a whole catalog."""
        self._snapshot.start()

    def push(self, frame: bytes) -> Catalog:
        """Apply a frame and return the catalog as it now is.

        Raises:
            MediaError: see `SnapshotReader.push` and `decode_catalog`.
        """
        return catalog_of(self._snapshot.push(frame))


def decode_catalog(text: bytes) -> Catalog:
    """Read a whole catalog.

    Raises:
        MediaError: too large, not JSON, or an audio section that is none.
    """
    if len(text) > MAX_CATALOG_BYTES:
        raise MediaError(f"catalog of {len(text)} bytes, at most {MAX_CATALOG_BYTES}")
    return catalog_of(parse_object(text))


def catalog_of(document: JsonObject) -> Catalog:
    """Read a catalog that is parsed already. It shares parts with `document` after.

    Raises:
        MediaError: an audio section that is none, or too many renditions.
    """
    others = {key: value for key, value in document.items() if key != "audio"}
    renditions = _renditions(document.get("audio"))
    if len(renditions) > _MAX_RENDITIONS:
        raise MediaError(f"catalog of {len(renditions)} renditions, at most {_MAX_RENDITIONS}")
    audio: dict[str, AudioRendition] = {}
    unusable: dict[str, str] = {}
    for name, config in renditions.items():
        try:
            # Not strict: JavaScript has one kind of number, so 48000.0 is a sample rate.
            audio[name] = msgspec.convert(config, AudioRendition, strict=False)
        except msgspec.ValidationError as error:
            unusable[name] = str(error)
    return Catalog(audio=audio, others=others, unusable=unusable)


def _renditions(section: object) -> JsonObject:
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise MediaError("catalog audio section is not an object")
    renditions = section.get("renditions")
    if isinstance(renditions, dict):
        return renditions
    track = section.get("track")
    # Before renditions there was one track with its config beside it.
    if isinstance(track, dict) and isinstance(name := track.get("name"), str):
        return {name: section.get("config")}
    if renditions is None:
        return {}
    raise MediaError("catalog audio renditions are not an object")


def opus_rendition(
    sample_rate: int = 48_000,
    channels: int = 1,
    bitrate: int | None = 24_000,
    frame_ms: float = 20,
    pre_skip: int = 312,
    container: ContainerKind = ContainerKind.LEGACY,
) -> AudioRendition:
    """Describe an Opus track to publish.

    Keep 48 kHz for browsers: Chrome's decoder gives that whatever the catalog says, and
    Safari's believes the catalog.

    Raises:
        LocalError: a rate or channel count Opus does not have, or cmaf.
    """
    if sample_rate not in SAMPLE_RATES or channels not in (1, 2):
        raise LocalError(f"no opus of {channels} channels at {sample_rate} Hz")
    if container is ContainerKind.CMAF:
        raise LocalError("cmaf is not written, legacy and loc are")
    head = OpusHead(channels=channels, pre_skip=pre_skip, sample_rate=sample_rate)
    return AudioRendition(
        codec="opus",
        sample_rate=sample_rate,
        number_of_channels=channels,
        bitrate=bitrate,
        description=head.encode().hex(),
        container=Container(kind=container.value),
        jitter=-int(-frame_ms // 1),
    )
