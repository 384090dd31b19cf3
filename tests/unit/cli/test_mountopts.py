import os

import pytest

from ecfs.base.errors import UsageRefusal
from ecfs.cli.mountopts import OWN_WORDS, MountWish, completed, parse
from ecfs.cli.secret import SecretSource


def test_nothing_asked_for_is_the_default() -> None:
    assert parse(()) == parse(("",)) == parse(("defaults,rw",)) == MountWish()


def test_our_words() -> None:
    wish = parse(("ro,allow_other,accept_rollback", "anchor=always,cache=32M,write_back=64M"))
    assert wish == MountWish(
        read_only=True,
        allow_other=True,
        accept_rollback=True,
        anchor_always=True,
        block_cache_len=32 << 20,
        write_back_len=64 << 20,
    )


def test_the_transport_is_raw_unless_asked_otherwise() -> None:
    assert parse(()).transport == parse(("transport=pyfuse3,transport=raw",)).transport == "raw"
    assert parse(("transport=pyfuse3",)).transport == "pyfuse3"


def test_access_times_are_kept_on_demand() -> None:
    assert not parse(()).relatime
    for word in ("relatime", "atime", "strictatime"):
        assert parse((word,)).relatime


def test_polling_can_be_left_out() -> None:
    assert parse(()).polls
    assert not parse(("nopoll",)).polls


def test_the_last_word_is_completed() -> None:
    assert completed("ro,trans") == ["ro,transport=raw", "ro,transport=pyfuse3"]
    assert set(OWN_WORDS) < set(completed(""))
    for word in OWN_WORDS:
        assert parse((word + "9M" if word.endswith("=") else word,)) is not None


def test_where_the_anchor_is_does_not_depend_on_where_we_are() -> None:
    assert parse(("anchor_dir=/media/key",)).anchor_dir == "/media/key"
    assert parse(("anchor_dir=key",)).anchor_dir == os.path.abspath("key")
    with pytest.raises(UsageRefusal):
        parse(("anchor_dir=",))


def test_the_last_of_two_contrary_words_counts() -> None:
    assert not parse(("ro,rw",)).read_only
    assert not parse(("anchor=always,anchor=lazy",)).anchor_always


def test_words_of_fstab_are_passed_over() -> None:
    words = "noauto,nofail,_netdev,user,x-systemd.automount,x-gvfs-name=a b,comment=c,norelatime"
    assert parse((words,)) == MountWish()


def test_words_of_the_kernel_are_passed_on() -> None:
    assert parse(("noexec,nodev,nosuid,noatime",)).kernel_words == (
        "noexec",
        "nodev",
        "nosuid",
        "noatime",
    )


@pytest.mark.parametrize(
    "word",
    ["bogus", "ro=1", "anchor=never", "transport=nfs", "anchor", "cache=", "passfile", "noexec=1",
     "Ro"],
)
def test_an_unknown_word_is_named(word: str) -> None:
    with pytest.raises(UsageRefusal) as refused:
        parse((f"noatime,{word}",))
    assert repr(word) in str(refused.value)
    assert parse((word,), sloppy=True) == MountWish()


@pytest.mark.parametrize("word", ["cache=4096", "write_back=1K", "cache=lots"])
def test_a_size_out_of_range_is_refused(word: str) -> None:
    with pytest.raises(UsageRefusal):
        parse((word,))


def test_where_the_secret_is_may_stand_among_the_options() -> None:
    wish = parse(("passfile=/etc/p=q,ro",))
    assert wish.source(SecretSource()) == SecretSource(passfile="/etc/p=q")
    assert wish.source(SecretSource(keyfile="/k")) == SecretSource(keyfile="/k")
    with pytest.raises(UsageRefusal, match="give one of"):
        parse(("passfile=/a,keyfile=/b",)).source(SecretSource())
