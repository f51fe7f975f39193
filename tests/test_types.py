"""Recipes: equal by value, round trip, refuse nonsense in one sentence."""

import pytest

from hfgi_app.errors import RecipeError
from hfgi_app.prompts import Prompt
from hfgi_app.types import EditRecipe


def test_order_zeros_and_repeats_do_not_matter():
    one = EditRecipe((("a/smile", 1), ("a/age", 2.0), ("b/none", 0.0)))
    two = EditRecipe((("a/age", 9.0), ("a/smile", 1.0), ("a/age", 2.0)))
    assert one == two
    assert hash(one) == hash(two)
    assert one.strengths == (("a/age", 2.0), ("a/smile", 1.0))


def test_with_strength_sets_and_removes():
    recipe = EditRecipe(prompts=(Prompt("face", "old face", 2),), keep=0.5).with_strength("a/age", 2)
    assert recipe.strengths == (("a/age", 2.0),)
    assert (recipe.prompts, recipe.keep) == ((Prompt("face", "old face", 2),), 0.5)
    assert recipe.with_strength("a/age", 0).strengths == ()


def test_identity_is_no_strength_and_no_prompt():
    assert EditRecipe().is_identity
    assert EditRecipe((("a/age", 0),), method="e4e", keep=0.2).is_identity
    assert not EditRecipe((("a/age", 1),)).is_identity
    assert not EditRecipe(prompts=(Prompt("a", "b"),)).is_identity


def test_json_round_trip():
    prompts = (Prompt('"quotes"', "<tags> & é 漢 🙂", 1 / 3), Prompt("face", "old face", -2, 0.15))
    recipe = EditRecipe((("a/age", -1.25),), prompts, "styleres", 0.75)
    assert EditRecipe.from_json(recipe.to_json()) == recipe
    assert "\n" not in recipe.to_json()


def test_missing_fields_take_their_defaults():
    assert EditRecipe.from_json("{}") == EditRecipe()
    assert EditRecipe.from_json('{"strengths": {"a/age": 1}}') == EditRecipe((("a/age", 1.0),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "[" * 100_000,
        '{"strength": {}}',
        '{"strengths": []}',
        '{"strengths": {"a": "1"}}',
        '{"strengths": {"a": true}}',
        '{"strengths": {"a": NaN}}',
        '{"strengths": {"a": 1e999}}',
        '{"strengths": {"a": ' + "9" * 400 + "}}",
        '{"strengths": {"a": ' + "9" * 5000 + "}}",
        '{"strengths": {"": 1}}',
        '{"prompts": "a -> b"}',
        '{"prompts": [1]}',
        '{"prompts": ["half a character \\ud800"]}',
        '{"prompts": ["half a character \\ud800 -> b = 1"]}',
        '{"prompts": ["a -> b"]}',
        '{"prompts": [' + ", ".join(f'"a -> b{n} = 1"' for n in range(17)) + "]}",
        '{"method": null}',
        '{"keep": 1.5}',
        '{"keep": -0.1}',
        '{"keep": "1"}',
    ],
)
def test_nonsense_is_refused_in_one_sentence(text):
    with pytest.raises(RecipeError) as caught:
        EditRecipe.from_json(text)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 200
