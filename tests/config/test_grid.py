"""The axes of a sweep, and the members that they make."""

import numpy as np
import pytest

from aejax import Config, InputError
from aejax.config.grid import field_path, grid, parse_values


@pytest.mark.parametrize("text", [",", "8,,8", "8,"])
def test_a_list_of_widths_has_no_holes(text):
    with pytest.raises(InputError, match="numbers with a comma between them"):
        parse_values("model.hidden", [text])


def test_a_range_has_a_colon():
    with pytest.raises(InputError, match=r"training.seed is 0-2; a sweep takes a range as 0:2"):
        parse_values("training.seed", ["0-2"])
    assert parse_values("model.options.form", ["0-2"]) == ["0-2"]


@pytest.mark.parametrize("field", ["parallel", "source_dir", "data.name", "channels"])
def test_fields_that_do_not_change_the_result_are_not_swept(field):
    with pytest.raises(InputError, match=r"cannot be swept|give its path"):
        field_path(field, Config())


def test_members_share_the_order_of_examples_and_programs_what_is_compiled():
    made = grid(
        Config().replace({"training.seed": 7}), {"seed": [1, 2], "l1": np.array([0, 1e-4]), "hidden": [(), (8, 4)]}
    )
    assert {member.data.order_seed for member in made.members.values()} == {7}
    assert [len(names) for names in made.programs] == [4, 4]
    for names in made.programs:
        assert len({made.members[name].model.hidden for name in names}) == 1
    assert "seed-2_l1-0.0001_hidden-8x4" in made.members


def test_values_on_a_command_line():
    assert parse_values("training.seed", ["0:3", "7"]) == [0, 1, 2, 7]
    assert parse_values("coefficients.l1", ["0", "1e-5"]) == [0, 1e-5]
    assert parse_values("model.hidden", ["128,64", "", "32"]) == [[128, 64], [], [32]]
    assert parse_values("corruption.kind", ["none", "masking"]) == ["none", "masking"]
    assert parse_values("training.clip_norm", ["None", "1"]) == [None, 1]
    assert field_path("l1", Config()) == field_path("coefficients.l1", Config()) == "coefficients.l1"


def test_a_misspelled_field_and_an_empty_range_say_what_to_do():
    with pytest.raises(InputError, match=r"no field 'code_sise' in the configuration; did you mean code_size\?"):
        grid(Config(), {"code_sise": [1]})
    with pytest.raises(InputError, match=r"training\.seed is 3:1, an empty range; give an end above 3"):
        parse_values("training.seed", ["3:1"])
