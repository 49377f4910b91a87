"""The policy bundle: its one byte form, and what it answers when it is replayed. Needs regorus to answer, not to be read."""

from __future__ import annotations

import hashlib
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import orjson

from sulku.codec import Plain
from sulku.decisions import RULE, read_answer
from sulku.errors import BundleError, NotCanonicalError, PolicyEngineMissingError, PolicyUnavailableError
from sulku.ledger import canonical

SCHEMA: Final = "sulku-policy/1"
_DATA: Final = "data/"
_WHEEL: Final = "gordon-to-regorus"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Every rule and every table that decides.

    Attributes:
        files: Path below ``policies/`` (``tunnel.rego``, ``data/roles.json``) to text.
        data: The one byte form, from which the bundle can be rebuilt; canonical JSON.
        sha256: SHA-256 (hex) of ``data``; each decision and each record of the ledger names it.
    """

    files: Mapping[str, str]
    data: bytes
    sha256: str

    @property
    def modules(self) -> dict[str, str]:
        """The Rego modules, by path, sorted."""
        return {path: self.files[path] for path in sorted(self.files) if path.endswith(".rego")}

    @property
    def tables(self) -> dict[str, Plain]:
        """The data that the rules read: ``data/roles.json`` is ``data.roles``."""
        paths = [path for path in sorted(self.files) if path.startswith(_DATA)]
        return {path.removeprefix(_DATA).removesuffix(".json"): orjson.loads(self.files[path]) for path in paths}


def bundle(files: Mapping[str, str]) -> Bundle:
    """Return the bundle of ``files``.

    Raises:
        BundleError: A file is neither a Rego module nor a table, or the files have no byte form.
    """
    if not all(path.endswith(".rego") or (path.startswith(_DATA) and path.endswith(".json")) for path in files):
        raise BundleError("a policy bundle holds Rego modules and JSON tables and nothing else")
    try:
        data = canonical.encode({"v": canonical.VERSION, "schema": SCHEMA, "files": dict(files)})
    except NotCanonicalError as error:
        raise BundleError(f"a policy bundle without a byte form: {error}") from None
    return Bundle(dict(files), data, hashlib.sha256(data).hexdigest())


def parse(data: bytes) -> Bundle:
    """Return the bundle whose byte form is ``data``.

    Raises:
        BundleError: It is the byte form of no bundle.
    """
    try:
        document = canonical.decode(data)
    except NotCanonicalError as error:
        raise BundleError(f"not a policy bundle: {error}") from None
    files = document.get("files")
    if set(document) != {"v", "schema", "files"} or document["schema"] != SCHEMA or not isinstance(files, dict):
        raise BundleError("not a policy bundle of a schema that this version knows")
    if not all(isinstance(text, str) for text in files.values()):
        raise BundleError("a policy bundle holds texts")
    return bundle(files)


def engine() -> str:
    """Return the name and version of the embedded engine, as decisions state it.

    Raises:
        PolicyEngineMissingError: It is not installed.
    """
    try:
        return f"regorus {version(_WHEEL)}"
    except PackageNotFoundError:
        raise PolicyEngineMissingError("regorus is not installed") from None


class _Engines(threading.local):
    """What the engine made in this thread, by number. It may be used and dropped there alone.

    An evaluator holds a number and not the thing: a collector that runs in another thread may find an evaluator, in the
    frames of a failure for instance. Its thread then drops what belonged to it when it makes the next, or when it ends.
    """

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}
        self.over: deque[int] = deque()  # whose evaluators are gone, as whichever thread says

    def keep(self, owner: object, made: Any) -> int:
        """Keep ``made`` while ``owner`` lives and return its number; what has no owner any more is dropped."""
        while self.over:
            self.made.pop(self.over.popleft(), None)
        number = next(_numbers)
        self.made[number] = made
        weakref.finalize(owner, self.over.append, number).atexit = False
        return number


_engines: Final = _Engines()
_numbers: Final = itertools.count()


class Evaluator:
    """One loaded bundle. It belongs to the thread that made it: the engine panics when another one uses it."""

    def __init__(self, rules: Bundle) -> None:
        """Load and compile ``rules``.

        Raises:
            PolicyEngineMissingError: The engine is not installed.
            PolicyUnavailableError: The bundle does not compile.
        """
        try:
            import regorus  # noqa: PLC0415  # offline verifiers may lack it
        except ImportError:
            raise PolicyEngineMissingError("regorus is not installed") from None
        self._owner = threading.current_thread()
        self._modules = list(rules.modules.items())
        self._tables = orjson.dumps(rules.tables).decode()
        self._regorus: Any = regorus
        self._interpreter: int | None = None
        with _contained():
            program = regorus.Program.compile_from_modules(self._tables, self._modules, [RULE])
            self._machine = _engines.keep(self, regorus.Rvm())
            _engines.made[self._machine].load_program(program)
            _engines.made[self._machine].set_data_json(self._tables)

    def answer(self, asked: str) -> str:
        """Return the answer to ``asked`` (canonical JSON of a policy input) as canonical JSON.

        Raises:
            PolicyUnavailableError: The answer is undefined, an error or nonsense, or another thread asks.
        """
        self._require_owner()
        try:
            with _contained():
                _engines.made[self._machine].set_input_json(asked)
                raw = _engines.made[self._machine].execute_entry_point(RULE)
        except PolicyUnavailableError:  # a compiled program stops after 25,000 instructions: many people, many outputs
            return self.interpret(asked)
        return settle(raw)

    def interpret(self, asked: str) -> str:
        """Return the same answer by the engine's other path, which has no such limit and takes about four times as long.

        Raises:
            PolicyUnavailableError: As for ``answer``.
        """
        self._require_owner()
        with _contained():
            if self._interpreter is None:
                number = _engines.keep(self, self._regorus.Engine())
                for path, text in self._modules:
                    _engines.made[number].add_policy(path, text)
                _engines.made[number].add_data_json(self._tables)
                self._interpreter = number
            _engines.made[self._interpreter].set_input_json(asked)
            raw = _engines.made[self._interpreter].eval_rule_as_json(RULE)
        return settle(raw)

    def _require_owner(self) -> None:
        if threading.current_thread() is not self._owner:
            raise PolicyUnavailableError("policy cannot answer: its engine belongs to another thread")


@contextmanager
def _contained() -> Iterator[None]:
    """Turn whatever the engine throws, panics too, into a fault of ours."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, there is no answer
        raise PolicyUnavailableError(f"policy cannot answer: {_complaint(error)}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # it has no importable name and is no Exception
            raise
        raise PolicyUnavailableError("policy cannot answer: the engine panicked") from None


def _complaint(error: Exception) -> str:
    lines = [line.removeprefix("error:").strip() for line in str(error).splitlines() if "error" in line]
    return (lines or [type(error).__name__])[0][:200]


def settle(raw: str | bytes) -> str:
    """Return an engine's answer (JSON) as canonical JSON, if it is one.

    Raises:
        PolicyUnavailableError: It is not of the agreed shape.
    """
    try:
        answer = orjson.loads(raw)
        read_answer(answer)
        return canonical.canonical(answer).decode()
    except (orjson.JSONDecodeError, NotCanonicalError) as error:
        raise PolicyUnavailableError(f"policy gave nonsense: {error}") from None


def replay(rules: bytes, asked: str) -> str:
    """Decide again what was decided then; equal, bit for bit, to the ``answered`` of the record.

    Args:
        rules: The byte form of the bundle whose SHA-256 the decision names.
        asked: The exact input of the decision.

    Raises:
        BundleError: Not a policy bundle.
        PolicyEngineMissingError: regorus is not installed.
        PolicyUnavailableError: This bundle has no answer to this question.
    """
    return Evaluator(parse(rules)).answer(asked)
