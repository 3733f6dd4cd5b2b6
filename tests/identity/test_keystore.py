import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyrage
import pytest

from identity import age, did_peer
from identity.errors import (
    KeystoreCorrupt,
    KeystoreError,
    KeystoreExists,
    KeystoreMissing,
    PassphraseNeeded,
    WrongPassphrase,
)
from identity.keys import Curve, PrivateKey
from identity.keystore import Keystore, Profile, profile_path

PASSPHRASE = "correct horse battery staple"


def test_a_profile_comes_back_as_it_was_saved(sealed: Path) -> None:
    assert Keystore(sealed).load(PASSPHRASE) == PROFILE
    assert Keystore(sealed).is_encrypted()


def test_a_sealed_profile_shows_nothing_and_belongs_to_its_owner(sealed: Path) -> None:
    assert sealed.stat().st_mode & 0o777 == 0o600
    assert PROFILE.did.encode() not in sealed.read_bytes()


def test_a_profile_lies_open_only_if_there_is_no_passphrase(tmp_path: Path) -> None:
    store = Keystore(tmp_path / "new" / "a.json")
    store.save(PROFILE, None, create=True)
    assert store.load(None) == PROFILE
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert not store.is_encrypted()


def test_an_open_profile_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    store = _open_profile(tmp_path)
    store.path.chmod(0o640)
    with pytest.raises(KeystoreError, match="chmod 600"):
        store.load(None)


def test_a_wrong_passphrase_and_a_missing_one_are_told_apart(sealed: Path) -> None:
    with pytest.raises(WrongPassphrase) as caught:
        Keystore(sealed).load("incorrect horse")
    assert str(sealed) in str(caught.value)
    assert "horse" not in str(caught.value)
    with pytest.raises(PassphraseNeeded):
        Keystore(sealed).load(None)


EXCESSIVE = "Excessive work parameter for passphrase.\nDecryption would take around 32 seconds."


def test_a_busy_machine_tries_the_passphrase_again(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decrypt, tries = pyrage.passphrase.decrypt, iter(range(3))

    def busy(data: bytes, passphrase: str) -> bytes:
        if next(tries, None) is not None:
            raise pyrage.DecryptError(EXCESSIVE)
        return bytes(decrypt(data, passphrase))

    monkeypatch.setattr(pyrage.passphrase, "decrypt", busy)
    monkeypatch.setattr(age, "PAUSE", 0)
    assert Keystore(sealed).load(PASSPHRASE) == PROFILE


def test_a_machine_that_stays_busy_blames_neither_passphrase_nor_file(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> bytes:
        raise pyrage.DecryptError(EXCESSIVE)

    monkeypatch.setattr(pyrage.passphrase, "decrypt", busy)
    monkeypatch.setattr(age, "PAUSE", 0)
    with pytest.raises(KeystoreError, match="too busy: try again") as caught:
        Keystore(sealed).load(PASSPHRASE)
    assert not isinstance(caught.value, KeystoreCorrupt | WrongPassphrase)


def test_a_file_that_is_too_costly_for_any_machine_is_told_at_once(sealed: Path) -> None:
    sealed.write_bytes(sealed.read_bytes().replace(b" 18\n", b" 40\n", 1))
    with pytest.raises(KeystoreCorrupt, match="work"):
        Keystore(sealed).load(PASSPHRASE)


def test_saving_never_takes_the_encryption_off(sealed: Path) -> None:
    with pytest.raises(PassphraseNeeded):
        Keystore(sealed).save(PROFILE, None)
    assert Keystore(sealed).is_encrypted()


def test_creating_never_replaces_a_profile(tmp_path: Path) -> None:
    store = _open_profile(tmp_path)
    before = store.path.read_bytes()
    with pytest.raises(KeystoreExists):
        store.save(PROFILE, PASSPHRASE, create=True)
    assert store.path.read_bytes() == before


def test_creating_never_replaces_a_profile_made_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _open_profile(tmp_path)
    before = store.path.read_bytes()
    monkeypatch.setattr(Keystore, "exists", lambda self: False)
    with pytest.raises(KeystoreExists):
        store.save(PROFILE, None, create=True)
    assert store.path.read_bytes() == before
    assert _names(tmp_path) == ["a.json"]


def test_saving_over_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeystoreMissing):
        Keystore(tmp_path / "a.age").save(PROFILE, PASSPHRASE)
    with pytest.raises(KeystoreMissing):
        Keystore(tmp_path / "a.age").load(PASSPHRASE)
    assert not Keystore(tmp_path / "a.age").exists()


def test_a_failed_write_leaves_the_old_profile_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _open_profile(tmp_path)
    monkeypatch.setattr(os, "fsync", _disk_full)
    with pytest.raises(KeystoreError, match="No space left"):
        store.save(CHANGED, None)
    monkeypatch.undo()
    assert store.load(None) == PROFILE
    assert _names(tmp_path) == ["a.json"]


def test_file_and_folder_are_on_disk_before_saving_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _open_profile(tmp_path)
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        steps.append("sync folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "sync file")
        fsync(descriptor)

    def record_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    store.save(CHANGED, None)
    assert steps == ["sync file", "rename", "sync folder"]


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_a_whole_profile(tmp_path: Path) -> None:
    store = _open_profile(tmp_path)
    for attempt in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(store.path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(attempt / 1000)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert store.load(None).did == PROFILE.did


DAMAGE = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "only the header": lambda data: data[:60],
    "a flipped bit": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    "a work factor for weeks": lambda data: data.replace(b" 18\n", b" 40\n"),
    "another file": lambda data: b"\x89PNG" + bytes(100),
    "far too large": lambda data: data + bytes(200_000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_profile_names_its_path_and_blames_no_passphrase(
    damage: str, sealed: Path
) -> None:
    sealed.write_bytes(DAMAGE[damage](sealed.read_bytes()))
    with pytest.raises(KeystoreCorrupt) as caught:
        Keystore(sealed).load(PASSPHRASE)
    assert str(sealed) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":1', b'"version":2'),
        (b'"mediator":null', b'"mediator":"did:x"'),
        (b'"did":', b'"name":'),
        (b'"kty":"OKP"', b'"kty":"EC"'),
        (b'"secrets":{', b'"secrets":{},"others":{'),
        (b"#key-1", b"0#key-1"),
        (b'"d":"', b'"d":"A'),
    ],
)
def test_an_open_profile_with_other_contents_is_damaged(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    store = _open_profile(tmp_path)
    data = store.path.read_bytes()
    assert old in data
    store.path.write_bytes(data.replace(old, new))
    with pytest.raises(KeystoreCorrupt) as caught:
        store.load(None)
    assert SECRET not in str(caught.value)


def test_a_profile_without_its_secrets_in_sight() -> None:
    assert SECRET not in repr(PROFILE)


@pytest.mark.slow
def test_what_another_age_sealed_is_opened() -> None:
    theirs = pyrage.passphrase.encrypt(b"profile", PASSPHRASE)
    assert age.unseal(theirs, PASSPHRASE) == b"profile"


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_everything_up_to_a_chunk_is_sealed(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "WORK_FACTOR", 10)
    assert age.unseal(age.seal(b"x" * size, PASSPHRASE), PASSPHRASE) == b"x" * size
    with pytest.raises(ValueError):
        age.seal(bytes(65_537), PASSPHRASE)


def test_profiles_lie_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIDMESH_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    assert profile_path("a") == Path("/home/alice/.local/share/didmesh/profiles/a.age")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert profile_path("a") == Path("/data/didmesh/profiles/a.age")
    monkeypatch.setenv("DIDMESH_HOME", "/mesh")
    assert profile_path("a") == Path("/mesh/profiles/a.age")
    assert profile_path("a", tmp_path) == tmp_path / "profiles" / "a.age"


def test_a_name_means_the_profile_that_is_there(tmp_path: Path) -> None:
    assert profile_path("a", tmp_path, encrypted=False).name == "a.json"
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "a.json").touch()
    assert profile_path("a", tmp_path).name == "a.json"
    (tmp_path / "profiles" / "a.age").touch()
    assert profile_path("a", tmp_path, encrypted=False).name == "a.age"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", ".a", "a\x00", "é", "a" * 65, "a\n"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="no name for a profile"):
        profile_path(name, tmp_path)


AGREEING, SIGNING = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
DID = did_peer.create_2([AGREEING.public], [SIGNING.public], [])
PROFILE = Profile(DID, {f"{DID}#key-1": AGREEING, f"{DID}#key-2": SIGNING})
CHANGED = Profile(DID, PROFILE.secrets, "did:example:mediator")
SECRET = SIGNING.to_jwk()["d"]
SAVE_FOR_EVER = """
import sys
from dataclasses import replace
from pathlib import Path
from identity.keystore import Keystore
store = Keystore(Path(sys.argv[1]))
profile = store.load(None)
print("saving", flush=True)
while True:
    profile = replace(profile, mediator=None if profile.mediator else "did:example:mediator")
    store.save(profile, None)
"""


@pytest.fixture(scope="module")
def sealed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "a.age"
    Keystore(path).save(PROFILE, PASSPHRASE, create=True)
    return path


@pytest.fixture
def sealed(sealed_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy2(sealed_once, tmp_path / "a.age"))


def _open_profile(folder: Path) -> Keystore:
    store = Keystore(folder / "a.json")
    store.save(PROFILE, None, create=True)
    return store


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _disk_full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")
