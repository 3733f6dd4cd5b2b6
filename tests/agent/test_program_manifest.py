"""What a manifest may say, and how it is told what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launch.manifest import Input, InputType, ManifestError, Timeouts, parse

GOOD = """\
name = "sum"
title = "The sum of all numbers"
adapter = "mpyc"
entry = "code/main.py"
[parties]
min = 3
max = 7
[[inputs]]
name = "number"
type = "integer"
title = "your number"
min = -5
max = 1_000
[[opens]]
what = "the sum"
to = "all"
"""


def test_a_manifest_is_read_in_full() -> None:
    manifest = parse(GOOD.encode())
    assert (manifest.name, manifest.adapter, manifest.entry) == ("sum", "mpyc", "code/main.py")
    assert (manifest.min_parties, manifest.max_parties, manifest.ports) == (3, 7, 1)
    assert manifest.inputs == (Input("number", InputType.INTEGER, "your number", -5, 1000),)
    assert [(entry.what, entry.to) for entry in manifest.opens] == [("the sum", ("all",))]
    assert manifest.timeouts == Timeouts(start=30, lost=20, run=600)


@pytest.mark.parametrize(("parties", "threshold"), [(3, 1), (4, 1), (5, 2), (6, 2), (7, 3)])
def test_the_usual_threshold_is_the_largest_minority(parties: int, threshold: int) -> None:
    assert parse(GOOD.encode()).threshold_for(parties) == threshold


def test_a_program_may_fix_its_threshold() -> None:
    assert parse(b"threshold = 1\n" + GOOD.encode()).threshold_for(7) == 1


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('name = "sum"', "", "sum.toml: name: is missing; it must be a name"),
        ('name = "sum"', 'name = "../x"', "sum.toml: name: must be a name of small letters"),
        ('name = "sum"', "name = 5", "sum.toml: name: must be a name"),
        ("The sum of", "The\\nsum of", "sum.toml: title: must be one printable line"),
        ('"code/main.py"', '"../main.py"', "sum.toml: entry: must be a plain path inside"),
        ('"code/main.py"', '"/main.py"', "sum.toml: entry: must be a plain path inside"),
        ('"code/main.py"', '"code/./main.py"', "sum.toml: entry: must be a plain path inside"),
        ("min = 3", "min = 1", "sum.toml: parties.min: must be a whole number from 2 to 64"),
        ("max = 7", "max = 65", "sum.toml: parties.max: must be a whole number from 2 to 64"),
        ("max = 7", "max = 2", "sum.toml: parties.min: is larger than max, 2"),
        ("max = 7", "max = true", "sum.toml: parties.max: must be a whole number"),
        ("max = 7", "max = 7\nmaximum = 8", "sum.toml: parties.maximum: is not a field"),
        ("[parties]", "color = 1\n[parties]", "sum.toml: color: is not a field"),
        ("[parties]", "threshold = 2\n[parties]", "sum.toml: threshold: must be a whole number"),
        ("[parties]", 'threshold = "all"\n[parties]', 'threshold: must be "honest-majority" or'),
        ('"integer"', '"float"', 'sum.toml: inputs[0].type: must be "integer"'),
        ("min = -5", "min = 5000", "sum.toml: inputs[0].min: is larger than max, 1000"),
        ("max = 1_000", "", "sum.toml: inputs[0].max: is missing"),
        ("[[inputs]]", "[inputs]", "sum.toml: inputs: must be a list of tables"),
        ('to = "all"', 'to = "me"', 'sum.toml: opens[0].to: must be one of "all"'),
        ('to = "all"', "to = []", "sum.toml: opens[0].to: must name at least one role"),
        ('to = "all"', 'to = ["all", "all"]', "opens[0].to: must be a list of at most 32 names"),
        ("[parties]\n", "[[roles]]\nname = 'a'\nseats = 2\n[parties]\n", "parties: does not go"),
        ('[[opens]]\nwhat = "the sum"\nto = "all"', "", "sum.toml: opens: is missing"),
        ('to = "all"', 'to = "all"\n[timeouts]\nrun = 0', "sum.toml: timeouts.run: must be"),
        ('to = "all"', 'to = "all"\n[timeouts]\nend = 9', "sum.toml: timeouts.end: is not a field"),
        ("[parties]", "[parties", "sum.toml: not TOML"),
    ],
)
def test_an_error_names_the_file_and_the_field(before: str, after: str, wanted: str) -> None:
    text = GOOD.replace(before, after, 1)
    assert text != GOOD
    with pytest.raises(ManifestError) as caught:
        parse(text.encode(), "sum.toml")
    assert wanted in str(caught.value)


def test_an_input_is_named_once() -> None:
    twin = GOOD[GOOD.index("[[inputs]]") : GOOD.index("[[opens]]")]
    with pytest.raises(ManifestError, match='inputs: "number" is named twice'):
        parse((GOOD + twin).encode())


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse(data)


def test_a_huge_or_deep_manifest_is_refused() -> None:
    for text in ("a = 1 #" + "x" * 70_000, "a = " + "[" * 30_000):
        with pytest.raises(ManifestError):
            parse(text.encode())


ROLES = """\
name = "match"
title = "A match with a helper"
adapter = "mpyc"
entry = "main.py"
[[roles]]
name = "voter"
seats = 2
inputs = ["vote"]
[[roles]]
name = "helper"
seats = 1
[[inputs]]
name = "vote"
type = "integer"
title = "yes or no"
min = 0
max = 1
[[opens]]
what = "whether both said yes"
to = "voter"
"""


def test_roles_have_seats_inputs_and_what_they_learn() -> None:
    manifest = parse(ROLES.encode())
    assert (manifest.min_parties, manifest.max_parties) == (3, 3)
    assert manifest.seats(3) == ("voter", "voter", "helper")
    assert [one.name for one in manifest.inputs_of("voter")] == ["vote"]
    assert manifest.inputs_of("helper") == ()
    [opening] = manifest.opens
    assert opening.is_for("voter")
    assert not opening.is_for("helper")


def test_without_roles_all_are_parties_and_give_everything() -> None:
    manifest = parse(GOOD.encode())
    assert manifest.seats(4) == ("party",) * 4
    assert manifest.inputs_of("party") == manifest.inputs
    assert manifest.opens[0].is_for("party")


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('to = "voter"', 'to = "votre"', 'must be one of "all", "self", "voter", "helper"'),
        ('to = "voter"', 'to = ["all", "voter"]', 'opens[0].to: must be one of "all"'),
        ('["vote"]', '["note"]', 'roles[0].inputs: "note" is not an input'),
        ('["vote"]', "[]", 'inputs[0].name: no role gives "vote"'),
        ('["vote"]', '["vote", "vote"]', "roles[0].inputs: must be a list of at most 32 names"),
        ('["vote"]', '"vote"', "roles[0].inputs: must be a list of names"),
        ('name = "helper"', 'name = "voter"', 'roles: "voter" is named twice'),
        ('name = "helper"', 'name = "all"', 'roles[1].name: "all" is a word of ours'),
        ('name = "helper"', 'name = "party"', 'roles[1].name: "party" is a word of ours'),
        ("seats = 1", "seats = 0", "roles[1].seats: must be a whole number from 1"),
        ("seats = 1", "seats = 63", "roles: must have 2 to 64 seats in all, not 65"),
        ("seats = 1", "seats = 1\nsees = 1", "roles[1].sees: is not a field"),
    ],
)
def test_a_role_that_cannot_be_is_told_with_its_field(before: str, after: str, wanted: str) -> None:
    text = ROLES.replace(before, after, 1)
    assert text != ROLES
    with pytest.raises(ManifestError) as caught:
        parse(text.encode())
    assert wanted in str(caught.value)
