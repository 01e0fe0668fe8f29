"""Batches follow from seed, stream, epoch and process alone, and resume exactly."""

from __future__ import annotations

import pytest
import torch
from tables import check_each

from robustnas.data import Images, TensorLoader
from robustnas.data.batch import derived_seed


def numbered(count=23):
    """Images whose target, and every pixel, is their index."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return Images(pixels, torch.arange(count), "classification", tuple(map(str, range(count))))


def loader(count=23, batch_size=4, indices=None, training=True, **options):
    images = numbered(count)
    chosen = torch.arange(count) if indices is None else indices
    return TensorLoader(images, chosen, batch_size, shuffle=training, drop_last=training, **options)


def seen(batches):
    """What identifies batches: samples in their order, and the seed."""
    return [(batch.targets.tolist(), int(batch.seed)) for batch in batches]


def samples(batches):
    return [target for targets, _ in seen(batches) for target in targets]


def test_a_batch_holds_the_images_of_its_targets():
    for batch in loader():
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (4, 1, 2, 2)
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.targets)
        assert batch.seed.shape == ()
        assert batch.seed.dtype == torch.int64


def test_training_yields_full_batches_of_different_samples():
    batches = list(loader())
    assert len(batches) == len(loader()) == 5
    assert len(set(samples(batches))) == 20
    assert samples(batches) != sorted(samples(batches))


def test_evaluation_yields_everything_once_in_order():
    batches = list(loader(training=False))
    assert len(batches) == len(loader(training=False)) == 6
    assert samples(batches) == list(range(23))
    assert len(batches[-1].targets) == 3


def test_only_the_given_samples_come():
    indices = torch.tensor([3, 5, 8, 13, 21])
    assert samples(loader(indices=indices, training=False)) == indices.tolist()
    assert set(samples(loader(indices=indices, batch_size=5))) == set(indices.tolist())


def test_order_and_seeds_follow_from_seed_stream_and_epoch():
    first = seen(loader(seed=1, stream="a"))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert seen(loader(seed=1, stream="a")) == first
    assert torch.equal(before, torch.get_rng_state())
    later = loader(seed=1, stream="a")
    later.set_epoch(1)
    everything = [first, seen(loader(seed=2, stream="a")), seen(loader(seed=1, stream="b")), seen(later)]
    orders = [[targets for targets, _ in batches] for batches in everything]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))
    seeds = [seed for batches in everything for _, seed in batches]
    assert len(set(seeds)) == len(seeds)


def test_an_epoch_is_the_same_however_it_was_reached():
    direct, after = loader(), loader()
    direct.set_epoch(3)
    list(after)
    list(after)
    after.set_epoch(3)
    assert seen(direct) == seen(after)


def test_a_second_pass_in_an_epoch_has_another_order():
    cycled = loader()
    first, second = seen(cycled), seen(cycled)
    assert [targets for targets, _ in first] != [targets for targets, _ in second]
    assert not {seed for _, seed in first} & {seed for _, seed in second}


def test_a_pass_left_early_begins_again():
    left = loader()
    first = next(iter(left))
    assert seen([next(iter(left))]) == seen([first])


def test_an_iterator_that_is_not_used_changes_nothing():
    plain, touched = loader(), loader()
    iter(touched)
    iter(touched)
    assert seen(touched) == seen(plain)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_batches_of_one(world_size):
    single = list(loader(batch_size=2 * world_size, stream="s"))
    shares = [list(loader(batch_size=2, rank=r, world_size=world_size, stream="s")) for r in range(world_size)]
    for index, batch in enumerate(single):
        together = [target for share in shares for target in share[index].targets.tolist()]
        assert sorted(together) == sorted(batch.targets.tolist())
    assert all(len(share) == len(single) for share in shares)
    seeds = [int(batch.seed) for share in shares for batch in share]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(("count", "world_size"), [(23, 2), (23, 4), (9, 2), (3, 4)])
def test_evaluation_sees_each_sample_once_over_all_processes(count, world_size):
    loaders = [loader(count, training=False, rank=r, world_size=world_size) for r in range(world_size)]
    assert sorted(target for one in loaders for target in samples(one)) == list(range(count))
    assert all(len(list(one)) == len(one) for one in loaders)


@pytest.mark.parametrize("consumed", [0, 1, 4, 5, 7, 12])
def test_a_loaded_state_continues_where_the_other_stood(consumed):
    """Batches are counted over passes: 13 reach into the third pass of 5."""

    def endless(source):
        while True:
            yield from source

    undisturbed, interrupted, resumed = loader(), loader(), loader()
    for one in (undisturbed, interrupted):
        one.set_epoch(2)
    expected = [next(batches) for batches in [endless(undisturbed)] for _ in range(15)]
    stream = endless(interrupted)
    for _ in range(consumed):
        next(stream)
    resumed.load_state_dict(interrupted.state_dict())
    assert resumed.state_dict() == interrupted.state_dict()
    resumed.set_epoch(2)
    stream = endless(resumed)
    assert seen(next(stream) for _ in range(15 - consumed)) == seen(expected[consumed:])


def test_a_new_epoch_after_loading_begins_at_its_start():
    interrupted, resumed, fresh = loader(), loader(), loader()
    stream = iter(interrupted)
    next(stream)
    resumed.load_state_dict(interrupted.state_dict())
    resumed.set_epoch(1)
    fresh.set_epoch(1)
    assert seen(resumed) == seen(fresh)


def test_the_state_is_plain_numbers():
    assert all(type(value) is int for value in loader().state_dict().values())


@pytest.mark.parametrize("changed", [{"batch_size": 2}, {"count": 24}, {"world_size": 2}])
def test_a_state_inside_a_pass_of_other_batches_is_refused(changed):
    interrupted = loader(batch_size=4, count=23)
    next(iter(interrupted))
    with pytest.raises(ValueError, match="Expected a checkpoint saved inside an epoch to be resumed with the same"):
        loader(**{"batch_size": 4, "count": 23, **changed}).load_state_dict(interrupted.state_dict())


def test_half_the_batch_on_two_processes_continues_one():
    interrupted = loader(batch_size=4)
    next(iter(interrupted))
    half = loader(batch_size=2, world_size=2)
    half.load_state_dict(interrupted.state_dict())
    assert len(list(half)) == 4


def test_a_state_between_passes_may_go_to_other_batches():
    finished, other = loader(batch_size=4), loader(batch_size=2)
    for _ in finished:
        state = finished.state_dict()
    other.load_state_dict(state)
    other.set_epoch(1)
    assert len(list(other)) == 11


def test_impossible_batches_are_refused():
    rows = [
        ({"batch_size": 0}, "Expected `batch_size` to be at least 1, but got 0"),
        ({"batch_size": 24}, "Expected `batch_size` .* of the 23 samples of 'arch', but got 24"),
        ({"batch_size": 12, "world_size": 2}, "but got 12 on each of 2 processes"),
        ({"indices": torch.tensor([], dtype=torch.int64)}, "Expected the stream 'arch' to have at least one sample"),
    ]

    def check(row):
        options, message = row
        with pytest.raises(ValueError, match=message):
            loader(stream="arch", **options)

    check_each(rows, check)


def test_derived_seeds_are_fixed_and_tell_neighbours_apart():
    assert derived_seed(0, "train", 0, 0) == 6167545301236946813
    seeds = {derived_seed(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
