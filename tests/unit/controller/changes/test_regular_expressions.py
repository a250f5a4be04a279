"""A regular expression that is taken here is one for PCRE2 too, which compiles it in every amphora."""

from __future__ import annotations

import ctypes
import ctypes.util
import warnings

import hypothesis
import pytest
from hypothesis import strategies

from controller.changes import regular_expressions

# Tokens whose combinations are where the two disagree.
_TOKENS = strategies.sampled_from(
    [
        *"ab-][()|*+?{}^$\\.~#& /'",
        *("[^", "[[:alpha:]", "[:digit:]", "[.x.]", "(?:", "(?=", "(?<=", "(?<!", "(?!", "(?>", "(?P<n>", "(?P=n)"),
        *("(?i)", "(?i:", "(?s-i:", "(?(1)", "{2}", "{2,}", "{,3}", "{1000}", "{3,60}", "{0}", "*?", "++", "a{70000}"),
        *("\\1", "\\d", "\\b", "\\Z", "\\x41", "\\12", "--", "&&", "\\u0041", "\\N", "\\\\", "\\]"),
    ]
)
_NO_AUTO_CAPTURE = 0x2000
"""As HAProxy compiles what is matched only (PCRE2_NO_AUTO_CAPTURE of pcre2.h): groups without a name have no number."""
_ATOMS = strategies.sampled_from(["a", ".", "\\d", "[a-z]", "[[:alnum:]_-]", "\\b", "^", "$", "(?P=n)", "\\1"])
_OPENINGS = strategies.sampled_from(["(", "(?:", "(?=", "(?<=", "(?<!", "(?!", "(?>", "(?P<n>", "(?i:"])
_COUNTS = strategies.sampled_from(["*", "+", "?", "{2}", "{2,7}", "{90}", "{1000}", "{0}", "*?", "++", "?+"])
_NESTED = strategies.recursive(
    _ATOMS,
    lambda inner: strategies.one_of(
        strategies.tuples(inner, inner).map("".join),
        strategies.tuples(inner, inner).map("|".join),
        strategies.tuples(_OPENINGS, inner).map(lambda pair: f"{pair[0]}{pair[1]})"),
        strategies.tuples(inner, _COUNTS).map("".join),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def pcre2() -> ctypes.CDLL:
    """The library that HAProxy uses."""
    name = ctypes.util.find_library("pcre2-8")
    if name is None:
        pytest.skip("PCRE2 is not installed: nothing can compile the expressions")
    library = ctypes.CDLL(name)
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_compile_8.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.c_int),
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.c_void_p,
    ]
    library.pcre2_code_free_8.argtypes = [ctypes.c_void_p]
    return library


@pytest.mark.lengthy
@hypothesis.given(pattern=strategies.one_of(strategies.lists(_TOKENS, max_size=12).map("".join), _NESTED).filter(lambda p: len(p) < 256))
@hypothesis.settings(max_examples=500, deadline=None)
def test_what_is_taken_compiles_there_too(pcre2: ctypes.CDLL, pattern: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            regular_expressions.check(pattern)
    except regular_expressions.Refused:
        return
    number, offset = ctypes.c_int(), ctypes.c_size_t()
    code = pcre2.pcre2_compile_8(pattern.encode(), len(pattern), _NO_AUTO_CAPTURE, ctypes.byref(number), ctypes.byref(offset), None)
    assert code, f"PCRE2 does not compile {pattern!r}: error {number.value} at {offset.value}"
    pcre2.pcre2_code_free_8(code)


@pytest.mark.parametrize(
    "pattern",
    [
        "^/api/v[0-9]+",
        r"\.(jpg|png|gif)$",
        "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
        "[.]php[3457]?$",
        r"(?i)mobile|(?:android (?!tv))",
        r"^(www|m)\.example\.(com|org)$",
        "(?P<a>.)(?P=a){2}",
        "[]a[.]",
        "{",
    ],
)
def test_usual_ones_are_taken(pattern: str) -> None:
    regular_expressions.check(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "can't be compiled"),
        ("a)", "never opened"),
        ("[a", "not closed"),
        ("a\\", "can't be compiled"),
        ("\\u0041", "does not know \\u"),
        ("[[:letters:]]", "class of characters"),
        ("[:alpha:]", "only inside"),
        ("[a--]", "must not hold --"),
        ("(?a)b", "does not know"),
        ("(?(1)a|b)", "does not know"),
        ("a{,5}", "must begin with a number"),
        ("a{1001}", "above 1000"),
        ("((abc){255}){255}", "too large"),
        ("(?=a)*", "can't be repeated"),
        ("(?<=a{2})b", "can't be repeated"),
        (r"(a)\1", "give one a name"),
    ],
)
def test_others_are_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(regular_expressions.Refused) as refusal:
        regular_expressions.check(pattern)
    assert reason in str(refusal.value)
