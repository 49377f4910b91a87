"""Kernel messages: the two wire formats, which types may pass each way, and what in them would reach other servers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import orjson

from sulku.errors import NotAllowedError

V1: Final = "v1.kernel.websocket.jupyter.org"
MOST_PARTS = 64
LARGEST_BUFFERS = 4 * 1024 * 1024  # bytes of binary buffers in one message


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TO_KERNEL: Final = {
    "shell": _words(
        "execute_request complete_request inspect_request is_complete_request history_request kernel_info_request "
        "comm_info_request comm_open comm_msg comm_close"
    ),
    "control": _words("kernel_info_request interrupt_request create_subshell_request delete_subshell_request list_subshell_request"),
    "stdin": frozenset({"input_reply"}),
}
FROM_KERNEL: Final = {
    "iopub": _words(
        "status stream display_data update_display_data execute_input execute_result error clear_output comm_open "
        "comm_msg comm_close shutdown_reply iopub_welcome"
    ),
    "shell": _words(
        "execute_reply complete_reply inspect_reply is_complete_reply history_reply kernel_info_reply comm_info_reply "
        "comm_open comm_msg comm_close"
    ),
    "control": _words("kernel_info_reply interrupt_reply shutdown_reply create_subshell_reply delete_subshell_reply list_subshell_reply"),
    "stdin": frozenset({"input_request"}),
}
# Elements that make a browser look up a name, open a connection or go elsewhere before any policy is asked: Chromium 156
# connects for a frame that it then refuses to load. A name is enough to carry data out, so they are shown as text.
MARKUP: Final = frozenset({"text/html", "text/markdown", "image/svg+xml", "text/latex"})
_REACHES_OUT: Final = re.compile(
    r"<(?=(?:[a-z0-9]+:)?(?:link|base|meta|iframe|frame|frameset|fencedframe|object|embed|applet|portal)[\s/>])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, taken apart: always re-written before it is passed on, so that both ends read the same."""

    channel: str
    header: dict[str, Any]
    parent: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: tuple[bytes, ...] = ()

    @property
    def type(self) -> str:
        """The message type, such as ``execute_request``."""
        return str(self.header.get("msg_type", ""))


def read_v1(frame: bytes) -> Message:
    """Return the message in a binary frame of the protocol ``V1``.

    Raises:
        NotAllowedError: It is malformed.
    """
    count = int.from_bytes(frame[:8], "little")
    if not 6 <= count <= MOST_PARTS or len(frame) < 8 * (count + 1):
        raise NotAllowedError("a kernel message with a wrong number of parts")
    offsets = [int.from_bytes(frame[8 * n : 8 * n + 8], "little") for n in range(1, count + 1)]
    if offsets[0] != 8 * (count + 1) or offsets[-1] != len(frame) or offsets != sorted(offsets):
        raise NotAllowedError("a kernel message whose parts overlap or do not fill it")
    channel, *parts = (frame[start:end] for start, end in pairwise(offsets))
    try:
        values = [orjson.loads(part) for part in parts[:4]]
        return _message(channel.decode("ascii"), values, tuple(parts[4:]))
    except ValueError as error:
        raise NotAllowedError("a kernel message that is not JSON") from error


def read_json(text: str) -> Message:
    """Return the message in a text frame of Jupyter's default protocol, which carries no buffers here.

    Raises:
        NotAllowedError: It is malformed.
    """
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise NotAllowedError("a kernel message that is not JSON") from error
    if not isinstance(value, dict) or value.get("buffers"):
        raise NotAllowedError("a kernel message that is not an object, or has buffers in JSON")
    names = ("header", "parent_header", "metadata", "content")
    return _message(value.get("channel"), [value.get(name, {}) for name in names], ())


def _message(channel: object, values: list[Any], buffers: tuple[bytes, ...]) -> Message:
    if not isinstance(channel, str) or not all(isinstance(value, dict) for value in values):
        raise NotAllowedError("a kernel message whose parts are not objects")
    if sum(map(len, buffers)) > LARGEST_BUFFERS:
        raise NotAllowedError(f"a kernel message with more than {LARGEST_BUFFERS} bytes of buffers")
    header, parent, metadata, content = values
    return Message(channel, header, parent, metadata, content, buffers)


def write_v1(message: Message) -> bytes:
    """Return the binary frame of ``message`` in the protocol ``V1``."""
    parts = [message.channel.encode(), *map(orjson.dumps, _parts(message)), *message.buffers]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = [len(offsets), *offsets]
    return b"".join([*(number.to_bytes(8, "little") for number in numbers), *parts])


def write_json(message: Message) -> str:
    """Return the text frame of ``message`` in Jupyter's default protocol.

    Raises:
        NotAllowedError: It has buffers, which that protocol writes in a format of its own.
    """
    if message.buffers:
        raise NotAllowedError("binary buffers need the protocol " + V1)
    header, parent, metadata, content = _parts(message)
    value: dict[str, Any] = {
        "channel": message.channel, "header": header, "parent_header": parent, "metadata": metadata,
        "content": content, "buffers": [], "msg_id": header.get("msg_id"), "msg_type": header.get("msg_type"),
    }  # fmt: skip
    return orjson.dumps(value).decode()


def _parts(message: Message) -> tuple[dict[str, Any], ...]:
    return message.header, message.parent, message.metadata, message.content


def require_allowed(message: Message, table: dict[str, frozenset[str]]) -> None:
    """Check that the type of ``message`` may pass on its channel.

    Raises:
        NotAllowedError: It may not.
    """
    if message.type not in table.get(message.channel, ()):
        raise NotAllowedError(f"the message type {message.type[:40]!r} on {message.channel[:10]!r} is not allowed")


def tamed(message: Message) -> Message:
    """Return ``message`` with the elements in its markup that reach out turned into text."""
    return replace(message, content=tame_bundles(message.content))


def tame_bundles(value: Any) -> Any:
    """Return plain JSON in which every bundle of media types, however deep, has its markup tamed."""
    if isinstance(value, dict):
        return {key: tame(item) if key in MARKUP else tame_bundles(item) for key, item in value.items()}
    return [tame_bundles(item) for item in value] if isinstance(value, list) else value


def tame(text: Any) -> Any:
    """Return markup (a string, or the list of lines that notebooks use) whose elements that reach out are text."""
    if isinstance(text, list):
        return tame("".join(map(str, text)))
    return _REACHES_OUT.sub("&lt;", text) if isinstance(text, str) else tame_bundles(text)


def refusal(request: Message, name: str, why: str) -> tuple[Message, ...]:
    """Return what a kernel would have said had it refused ``request`` itself, so that the cell shows the reason."""

    def reply(channel: str, kind: str, content: dict[str, Any]) -> Message:
        header = request.header | {"msg_type": kind, "msg_id": f"{request.header.get('msg_id', '')}-{kind}"}
        return Message(channel, header, request.header, {}, content)

    error = {"ename": name, "evalue": why, "traceback": [f"{name}: {why}"]}
    return (
        reply("iopub", "status", {"execution_state": "busy"}),
        reply("iopub", "error", error),
        reply("shell", "execute_reply", {"status": "error", "execution_count": 0, **error}),
        reply("iopub", "status", {"execution_state": "idle"}),
    )
