import pytest

from benchmark import collectives

SAME_GROUP = (  # of eight chips, those with an even number or the first four
    ("replica_groups={{0,1,2,3},{4,5,6,7}}", [0, 1, 2, 3]),
    ("replica_groups=[2,4]<=[8]", [0, 1, 2, 3]),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", [0, 1, 2, 3]),
    ("replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_0'}", [0, 1, 2, 3]),
    ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", [0, 4]),
    ("replica_groups=[4,2]<=[2,4]T(1,0)", [0, 4]),
    ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0'}", [0, 4]),
    ("source_target_pairs={{0,1},{1,0}}", [0, 1]),
)

TEXT = """
%s (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%start (given: s32[2]) -> s32[8] {
  %all-gather.1 = s32[8]{0} all-gather(%given), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %custom-call.1 = (s32[8]{0}, u32[]) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%end (given: s32[2]) -> s32[8] {
  ROOT %all-gather.2 = s32[8]{0} all-gather(%given), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
}

%body (state: (s32[], f32[10])) -> (s32[], f32[10]) {
  %fusion.1 = s32[8]{0} fusion(%x), kind=kCustom, calls=%start
  %fusion.2 = s32[8]{0} fusion(%fusion.1), kind=kCustom, calls=%end
  %all-reduce.1 = (f32[10], f32[10]) all-reduce(%y, %z), channel_id=1, replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%s
  %all-reduce.2 = f32[100]{0:T(128)S(1)} all-reduce(%y), channel_id=2, replica_groups=[2,4]<=[8], to_apply=%s
  %collective-permute.1 = (f32[10]{0}, f32[10]{0}) collective-permute-start(%y), source_target_pairs={{0,1},{1,0}}
  ROOT %tuple = (s32[], f32[10]) tuple(%i, %y)
}

%condition (state: (s32[], f32[10])) -> pred[] {
  ROOT %compare = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (given: f32[10]) -> f32[10] {
  %all-reduce.9 = f32[1000]{0} all-reduce(%given), replica_groups=[1,8]<=[8], to_apply=%s
  ROOT %while = (s32[], f32[10]) while(%state), condition=%condition, body=%body
}
"""


@pytest.mark.parametrize(("rest", "group"), SAME_GROUP)
def test_the_chips_of_a_message_are_read_from_each_way_to_write_them(rest, group):
    assert collectives._group(f"%given), channel_id=1, {rest}, to_apply=%s") == group


def test_bytes_are_those_of_a_ring_in_one_iteration_along_each_axis():
    assert collectives.sent(TEXT, shards=4) == {
        "units": {"all-gather": 3 / 4 * 32, "all-reduce": 2 * 3 / 4 * 400, "collective-permute": 40},
        "batch": {"all-reduce": 2 * 1 / 2 * 80},
    }
    assert collectives.sent(TEXT, shards=1)["units"] == {}  # chips that share no state
