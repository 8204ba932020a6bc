"""Damaged files: what a bad disk, another program or an attacker makes of a good one.

A good file is changed in its own form first (values of JSON, tags of XML, a safetensors header and
its arrays), so that it passes the first checks and reaches later ones; then, sometimes, as bytes.
All choices are a generator's, so that a seed names an input.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", "x", [[]], [None], {"": None}, {"a": {"b": [1]}}),
    *(0, 1, -1, 2, 3, 7, 255, 65_536, 1_000_000, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**25),
    *(0.5, -0.0, 1.0, 1e-320, 1e308, -1e300, float("nan"), float("inf"), float("-inf")),
    *("0", "-1", "nan", "1e999", "null", "é", "\x00", "\x1b[31m", "\ud800", "\u202e", "\n", "=1"),
    *("../x", "/", ".", "/dev/zero", "a/b", "x" * 300, "x" * 5_000, "<b>&amp;</b>", "%s{0}"),
)
"""What a key may hold that nobody meant."""

TOKENS = tuple(
    token.encode()
    for token in (
        *("null", "NaN", "-Infinity", "1e999", "9" * 400, "9" * 5_000, '"a":1,"a":2,', "[" * 50),
        *("[" * 20_000, '{"a":' * 5_000, "{}", "}", "]", ",", '"', "\\ud800", "\\u0000", "\x00"),
        *("\n", "\r", "\x85", " ", "\t" * 50, "//", "\ufeff", "\U0001f600", "true", "-", "0x1"),
        *('<!DOCTYPE a [<!ENTITY b "bb">]>', "&b;", "<!--", "<![CDATA[", "]]>", "<?x?>", "</"),
        *('encoding="utf-16"', 'encoding="utf-7"', 'encoding="cp037"', 'encoding="hex"', "xmlns:"),
        *(
            "\x1b]0;x\x07",
            "-1",
            "2147483648",
            "18446744073709551616",
            "0.1",
            "\u2028",
            "a" * 70_000,
        ),
    )
)
"""What is put into bytes."""

MANY = "\n".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha"}">' for i in range(12))
BOMB = f"<!DOCTYPE b [{MANY}]>".encode()
"""Entities that would write 10^12 letters."""

Mutation = Callable[[bytes, random.Random], bytes]


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    """JSON with one to three of its values, keys or places changed."""
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(value, value, rng)
    return _dumped(value)


def mutated_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines of JSON: one changed, doubled, left out or moved."""
    lines = content.splitlines()
    place = rng.randrange(len(lines))
    act = rng.randrange(8)
    if act < 4:
        lines[place] = mutated_json(lines[place], rng)
    elif act == 4:
        lines.insert(rng.randrange(len(lines) + 1), lines[place])
    elif act == 5:
        del lines[place]
    elif act == 6:
        lines *= rng.choice((2, 20))
    else:
        rng.shuffle(lines)
    return rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r")).join(lines)


def mutated_xml(content: bytes, rng: random.Random) -> bytes:
    """XML with tags, texts or values of attributes changed, doubled or left out."""
    parts = re.findall(rb"<[^>]*>|[^<]+", content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(parts))
        act = rng.randrange(7)
        if act == 0:
            del parts[place]
        elif act == 1:
            parts.insert(rng.randrange(len(parts) + 1), parts[place])
        elif act == 2:
            other = rng.randrange(len(parts))
            parts[place], parts[other] = parts[other], parts[place]
        elif act == 3 and rng.random() < 0.1:
            parts.insert(1, BOMB)
        elif act == 4:
            parts[place] = parts[rng.randrange(len(parts))]
        else:
            new = str(rng.choice(ODD_VALUES)).encode("utf-8", "surrogatepass")
            values = list(re.finditer(rb'"[^"]*"|>?[^<>"=]+', parts[place])) or [None]
            found = rng.choice(values)
            if found is not None:
                quote = b'"' if found[0].startswith(b'"') else b""
                start, end = found.span()
                parts[place] = parts[place][:start] + quote + new + quote + parts[place][end:]
        if not parts:
            return b""
    return b"".join(parts)


def mutated_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A header of other entries, types, shapes or places; or numbers that nobody meant."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.25 and data:
        place = rng.randrange(len(data))
        odd = rng.choice((b"\xff", b"\x7f\xf0\x00\x00", b"\x00\x00\xc0\x7f", b"\x80\x7f", b"\x00"))
        data = data[:place] + odd * rng.randrange(1, 9) + data[place + len(odd) :]
        return content[: 8 + length] + data[: len(content) - 8 - length]
    entries = json.loads(header)
    name = rng.choice(list(entries))
    act, dtype = rng.randrange(6), rng.choice(list(_DTYPES))
    if name != "__metadata__" and act == 0:
        entries[name]["dtype"] = dtype
    elif name != "__metadata__" and act == 1:
        shape = entries[name]["shape"]
        entries[name]["shape"] = rng.choice(
            (shape[::-1], [*shape, 1], [1, *shape], [], [0], shape[:-1], [2**40], [2**32, 2**32])
        )
    elif name != "__metadata__" and act == 2:  # another type and shape of the same bytes
        start, end = entries[name]["data_offsets"]
        entries[name] |= {"dtype": dtype, "shape": [(end - start) // _DTYPES[dtype]]}
    elif name == "__metadata__" and act < 4:
        key = rng.choice(list(entries[name]))
        try:
            entries[name][key] = mutated_json(entries[name][key].encode(), rng).decode("latin-1")
        except ValueError:
            entries[name][key] = str(rng.choice(ODD_VALUES))
    else:
        entries = json.loads(mutated_json(header, rng))
    new = _dumped(entries)
    return len(new).to_bytes(8, "little") + new + data


_DTYPES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2},
    **{"BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8},
}
"""What safetensors stores, and its bytes."""


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, moved, or with others put between."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((1, 1, 4, 30, 1000)))
        part = content[start:end]
        act = rng.randrange(8)
        if act == 0:
            part = bytes(byte ^ (1 << rng.randrange(8)) for byte in part)
        elif act == 1:
            part = rng.randbytes(len(part))
        elif act == 2:
            part = b""
        elif act == 3:
            part *= rng.choice((2, 3, 100))
        elif act == 4:
            return content[:start]
        elif act == 5:
            part = content[end : end + len(part)] + part
        else:
            part += rng.choice(TOKENS)
        content = content[:start] + part + content[end:]
    return content


def mutated_text(content: bytes, rng: random.Random) -> bytes:
    """A text with words exchanged for odd ones."""
    words = re.findall(rb"\w+|\W", content) or [b""]
    for _ in range(rng.choice((1, 2, 3))):
        odd = rng.choice((*ODD_VALUES, rng.randrange(-(10**6), 10**6)))
        words[rng.randrange(len(words))] = str(odd).encode("utf-8", "surrogatepass")
    return b"".join(words)


FORMS: dict[str, Mutation] = {
    "json": mutated_json,
    "lines": mutated_lines,
    "xml": mutated_xml,
    "safetensors": mutated_safetensors,
    "text": mutated_text,
    "bytes": mutated_bytes,
}


def mutated(content: bytes, form: str, rng: random.Random) -> bytes:
    """A damaged copy of a good file: mostly by its form, in a third of cases (also) as bytes."""
    by_form, as_bytes = rng.random() < 0.85, rng.random() < 0.3
    if by_form:
        content = FORMS[form](content, rng)
    return mutated_bytes(content, rng) if as_bytes or not by_form else content


def _changed(value: Any, whole: Any, rng: random.Random) -> Any:
    """The value with a change at some place within."""
    if not (isinstance(value, dict | list) and value) or rng.random() < 0.12:
        return _other(value, whole, rng)
    copy: Any = value.copy()
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    act = rng.random()
    if act < 0.05:
        del copy[key]
    elif act < 0.1 and isinstance(copy, dict):
        copy[str(rng.choice(ODD_VALUES))] = copy.pop(key)
    elif act < 0.12 and isinstance(copy, list):
        copy.append(copy[key])
    elif act < 0.14 and isinstance(copy, dict):
        copy[f"{key}{rng.randrange(9)}"] = copy[key]
    else:
        copy[key] = _changed(copy[key], whole, rng)
    return copy


def _other(value: Any, whole: Any, rng: random.Random) -> Any:
    """A value in place of another: often of its type, so that it gets further."""
    act = rng.random()
    if act < 0.3 and type(value) in (int, float):
        return rng.choice((value + 1, value - 1, -value, value * 1000, value * 10**12, value / 7))
    if act < 0.5 and not isinstance(value, dict | list | None):
        return rng.choice([odd for odd in ODD_VALUES if type(odd) is type(value)])
    if act < 0.6:
        return _some_value(whole, rng)
    if act < 0.65:
        for _ in range(rng.choice((1, 2, 30))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    return rng.choice(ODD_VALUES)


def _some_value(value: Any, rng: random.Random) -> Any:
    while isinstance(value, dict | list) and value and rng.random() < 0.85:
        value = rng.choice(list(value.values()) if isinstance(value, dict) else value)
    return value


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
