"""The README's walk-through takes no more steps than it promises."""

import pytest

from lab.walkthrough import README, walkthrough


@pytest.mark.parametrize(
    ("part", "most"), [("first time", 10), ("same people again", 3), ("clean-up", 0)]
)
def test_three_people_need_no_more_actions_than(part: str, most: int) -> None:
    assert len(walkthrough(README.read_text())[part]) <= most


def test_every_person_is_counted_and_so_is_everything_that_is_no_command() -> None:
    text = "**First time.**\n\n    a$ x 'y z'  # why\n    a, b: look\n**Same people again:**\n"
    parts = walkthrough(f"{text}\n**Clean-up.** None.\n## Next\n    a$ not this\n")
    assert [action.words for action in parts["first time"]] == [("x", "y z"), (), ()]
    assert [action.who for action in parts["first time"]] == ["a", "a", "b"]
    assert not parts["clean-up"]


def test_a_readme_without_one_is_noticed() -> None:
    with pytest.raises(ValueError, match="no part"):
        walkthrough("# Nothing\n")
