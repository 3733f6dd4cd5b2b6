"""Words that people read to each other: a list without twins, phrases that follow, codes."""

import pytest

from agent.words import BITS, new_code, parse_code, phrase, word_list


def test_the_list_has_a_power_of_two_of_short_small_words() -> None:
    words = word_list()
    assert len(words) == len({*words}) == 1 << BITS
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
    assert all(3 <= len(word) <= 10 for word in words)
    assert list(words) == sorted(words)


def test_no_two_words_differ_in_one_letter_only() -> None:
    """One letter misheard or mistyped gives no word, rather than another one."""
    seen: dict[str, str] = {}
    for word in word_list():
        for place in range(len(word)):
            for pattern in (word[:place] + "?" + word[place + 1 :],):
                assert pattern not in seen, (word, seen.get(pattern))
                seen[pattern] = word


def test_a_phrase_follows_from_the_session_and_from_nothing_else() -> None:
    assert phrase("ab" * 32) == "raven skate coral frog"
    assert phrase("ab" * 31 + "ac") != phrase("ab" * 32)
    assert len(phrase("cd" * 32).split()) == 4


def test_a_code_is_read_as_people_type_it() -> None:
    code = new_code()
    assert parse_code(code) == code
    assert parse_code(f" {code.replace('-', '  ').upper()} ") == code
    assert new_code() != new_code()


def test_a_new_code_has_another_first_word_than_those_before() -> None:
    free = word_list()[700]
    taken = set(word_list()) - {free}
    assert {new_code(taken).partition("-")[0] for _ in range(3)} == {free}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "3 words"),
        ("lemon river", "3 words"),
        ("lemon-river-stone-frog", "3 words"),
        ("lemon-river-stonne", "'stonne'"),
        ("lemon-river-" + "x" * 1000, "'xxxxxxxxxxxxxxxxxxxx'"),
    ],
    ids=["nothing", "two", "four", "mistyped", "endless"],
)
def test_what_is_no_code_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_code(text)
