"""Artifacts that were damaged or forged: one sentence says so; nothing crashes, hangs or is run."""

import hashlib
import io
import json
import os
import random
import zipfile

import numpy as np
import pytest

import graphc as gx
from graphc.artifact import Artifact, manifest_text
from graphc.runtime.deploy import deploy
from graphc.runtime.deployable import from_artifact

MANIFEST = "manifest.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of an artifact that has inputs, rules, errors, variables and large constants."""
    folder = tmp_path_factory.mktemp("whole")
    with gx.Graph().as_default() as graph:
        x = gx.placeholder(gx.float32, [None, 4], name="x")
        labels = gx.placeholder(gx.int32, [None], name="labels")
        logits = gx.matmul(x, gx.get_variable("w", [4, 3]))
        losses = gx.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = gx.reduce_mean(losses)
        step = gx.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        wide = gx.matmul(logits, gx.constant(np.ones((3, 100), np.float32)))
        fetches = {"step": [step, loss], "wide": (wide,)}
        gx.compile(fetches, [x, labels], folder / "m", session=gx.Session(graph=graph))
    return {path.name: path.read_bytes() for path in sorted((folder / "m").iterdir())}


@pytest.fixture
def place(tmp_path):
    """Write files as a folder."""

    def write(files):
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder

    return write


def sealed(content):
    """A manifest as somebody writes it who knows how its checksum is made."""
    content = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "checksum": hashlib.sha256(text.encode()).hexdigest()}).encode()


def with_facts_of(files):
    """The same files, with a manifest that says that they are as they should be."""
    content = json.loads(files[MANIFEST])
    for name in content["files"]:
        data = files[name]
        facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        content["files"][name] = facts
    return {**files, MANIFEST: sealed(content)}


def opened(path, again=False):
    """Load or refuse; `again`: compile it again too."""
    said = []
    actions = [lambda: gx.load(path)]
    if again:
        actions.append(lambda: deploy(from_artifact(Artifact(path)), path.parent / "again.zip"))
    for action in actions:
        try:
            action()
        except gx.ArtifactError as error:
            said.append(str(error))
    assert all(len(text) < 1500 for text in said)
    return said


def refused(path, match):
    with pytest.raises(gx.ArtifactError, match=match) as caught:
        gx.load(path)
    assert "\n" not in str(caught.value)


def mutated(draw, data):
    """Bytes with a few bits, bytes or stretches changed, cut out or put in."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        at, length = draw.randrange(len(data) + 1), draw.choice([1, 4, 100])
        kind = draw.choice(["bit", "byte", "end", "cut", "put"])
        if kind == "bit" and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif kind == "byte" and at < len(data):
            data[at] = draw.randrange(256)
        elif kind == "end":
            del data[at:]
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "put":
            data[at:at] = draw.randbytes(length)
    return bytes(data)


def alike(name, data, original):
    """Whether a file says what it said: the manifest may, with other white space."""
    try:
        return data == original or (name == MANIFEST and json.loads(data) == json.loads(original))
    except ValueError:
        return False


@pytest.mark.random_cases(quick=60, soak=4000)
def test_changed_files_are_refused(case_seed, whole, place):
    draw = random.Random(case_seed)
    name = draw.choice(sorted(whole))
    files = {**whole, name: mutated(draw, whole[name])}
    said = opened(place(files))
    used = {MANIFEST, "model-host.o", "constants-host.bin", "variables.safetensors"}
    assert bool(said) == (name in used and not alike(name, files[name], whole[name]))


@pytest.mark.random_cases(quick=60, soak=4000)
def test_changed_texts_and_weights_with_right_checksums_are_read_or_refused(
    case_seed, whole, place
):
    draw = random.Random(case_seed)
    name = draw.choice(["graph.txt", "variables.safetensors", "graph-constants.safetensors"])
    opened(place(with_facts_of({**whole, name: mutated(draw, whole[name])})), again=True)


@pytest.mark.random_cases(quick=60, soak=4000)
def test_changed_zip_files_are_read_or_refused(case_seed, whole, tmp_path):
    """Most changes hit the large files: aim at the headers and the table of contents as well."""
    draw = random.Random(case_seed)
    packed = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    data = zipped(whole.items(), packed)
    spot = draw.choice(["anywhere", "contents", "header"])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        headers = [info.header_offset for info in archive.infolist()]
    if spot == "anywhere":
        data = mutated(draw, data)
    else:
        at = len(data) - 1 - draw.randrange(700)
        at = at if spot == "contents" else draw.choice(headers) + draw.randrange(40)
        data = data[:at] + draw.randbytes(1) + data[at + 1 :]
    (tmp_path / "m.zip").write_bytes(data)
    opened(tmp_path / "m.zip", again=True)


def zipped(members, packed=zipfile.ZIP_STORED):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", packed) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return memory.getvalue()


DEEP = [[]]
for _ in range(600):
    DEEP = [DEEP]
VALUES = [
    None, True, 0, -1, 3, 2**63, 10**30, 1e308, "", "x", "..", "../x", "a\0b", "\ud800", "a\nb",
    [], {}, [[]], ["n"], "-1", "99999999999999999999", "(_1 // 0)", "manifest.json", DEEP,
]  # fmt: skip


def places_in(value, way=()):
    if way:
        yield way
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_in(value[key], (*way, key))


@pytest.mark.random_cases(quick=150, soak=6000)
def test_forged_manifests_are_read_or_refused(case_seed, whole, place):
    """Any value anywhere, or nothing: with a checksum that is right."""
    draw = random.Random(case_seed)
    content = json.loads(whole[MANIFEST])
    *way, last = draw.choice([w for w in places_in(content) if w[0] != "checksum"])
    inner = content
    for key in way:
        inner = inner[key]
    if draw.random() < 0.2:
        del inner[last]
    else:
        inner[last] = draw.choice(VALUES)
    said = opened(place({**whole, MANIFEST: sealed(content)}))
    assert all("\n" not in text for text in said)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.pop("rules"), "it lacks 'rules'"),
        (lambda c: c.update(more=1), "it has an unknown 'more'"),
        (lambda c: c.update(name="a b"), "name is 'a b', which is no name of C functions"),
        (lambda c: c["inputs"][0].update(name=[]), r"inputs\[0\].name is \[\], which is no text"),
        (lambda c: c["inputs"][1].update(name="x"), "two inputs have one name"),
        (lambda c: c["inputs"][0].update(dtype="float7"), "'float7', which is no dtype"),
        (lambda c: c["inputs"][0].update(shape=["2**9"]), "no dimension"),
        (lambda c: c["inputs"][0].update(shape=["1" * 30, "4"]), "which is no size"),
        (lambda c: c["outputs"][1].update(shape=["k"]), "no input has the size 'k'"),
        (lambda c: c["rules"][0].update(left="k"), "no input has the size 'k'"),
        (lambda c: c["variables"][0].update(shape=["_1", "3"]), "has a size that is not known"),
        (lambda c: c["targets"][0].update(features=None), r"targets\[0\].features is None"),
        (lambda c: c["targets"][0].update(object="none.o"), "'none.o' is none of its files"),
        (lambda c: c.update(targets=[]), "it names no target"),
        (lambda c: c["files"].update({"..": {"bytes": 0, "sha256": "0" * 64}}), "is '..'"),
        (lambda c: c["files"]["model.h"].update(bytes=-1), "no number of bytes"),
        (lambda c: c["files"]["model.h"].update(bytes=True), "no number of bytes"),
        (lambda c: c.update(structure=7), "the structure is 7, which is no nesting of 2 outputs"),
        (lambda c: c.update(structure={"dict": [[[], 0]]}), r"the key \[\] of a dict"),
        (lambda c: c.update(structure=DEEP), "nested more than 50 deep"),
        (lambda c: c.update(structure=float("nan")), "NaN is no number of a manifest"),
    ],
)
def test_a_forged_manifest_is_told_what_is_wrong_with_it(change, match, whole, place):
    content = json.loads(whole[MANIFEST])
    change(content)
    refused(place({**whole, MANIFEST: sealed(content)}), f"damaged: .*{match}.*copy the artifact")


def test_an_error_that_the_manifest_does_not_list(whole, place):
    content = json.loads(whole[MANIFEST])
    content["errors"] = []
    model = gx.load(place({**whole, MANIFEST: sealed(content)}))
    with pytest.raises(gx.ArtifactError, match="the manifest knows no such error"):
        model(np.ones((1, 4)), [3])


def test_files_of_each_other(whole, place):
    names = sorted(set(whole) - {MANIFEST})
    for one, other in zip(names, names[1:] + names[:1], strict=True):
        opened(place({**whole, one: whole[other], other: whole[one]}), again=True)
    code = with_facts_of({**whole, "model-host.o": whole["pool-host.o"]})
    refused(place(code), "model-host.o is no code of this artifact")
    code = with_facts_of({**whole, "model-host.o": whole["graph.txt"]})
    refused(place(code), "model-host.o is no code of this artifact")


def test_weights_of_another_type(whole, place):
    from safetensors.numpy import save

    for weights, held in (
        ({"w": np.ones((4, 3))}, r"float64 \[4, 3\]"),
        ({"w": np.ones((3, 4), np.float32)}, r"float32 \[3, 4\]"),
        ({"v": np.ones((4, 3), np.float32)}, "missing"),
    ):
        files = with_facts_of({**whole, "variables.safetensors": save(weights)})
        refused(place(files), rf"variable w is {held} in variables.safetensors")


@pytest.mark.parametrize("name", [MANIFEST, "model-host.o", "variables.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "broken link", "loop"])
def test_what_is_no_file_is_not_read(name, kind, whole, place):
    """Reading a pipe would wait for ever, reading a device never end."""
    folder = place(whole)
    path = folder / name
    path.unlink()
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "broken link": lambda: path.symlink_to("nowhere"),
        "loop": lambda: path.symlink_to(name),
    }[kind]()
    refused(folder, f"{name} (cannot be read|has 0 bytes|has 4096 bytes)")
    if kind == "folder":
        path.rmdir()


def test_a_link_to_the_file_itself_is_read(whole, place, tmp_path):
    folder = place(whole)
    (folder / "model-host.o").rename(tmp_path / "elsewhere.o")
    (folder / "model-host.o").symlink_to(tmp_path / "elsewhere.o")
    assert gx.load(folder).manifest.name == "model"


def test_zip_files_that_swell_or_repeat_or_hide(whole, tmp_path):
    path = tmp_path / "m.zip"
    bomb = {**whole, "model-host.o": bytes(1 << 24)}
    path.write_bytes(zipped(bomb.items(), zipfile.ZIP_DEFLATED))
    refused(path, "model-host.o has 16777216 bytes instead of")
    path.write_bytes(zipped({**whole, MANIFEST: bytes(1 << 27)}.items(), zipfile.ZIP_DEFLATED))
    refused(path, "has 134217728 bytes: it is no manifest")
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(zipped([*whole.items(), (MANIFEST, b"{}")]))
    refused(path, "two files of one name")
    path.write_bytes(zipped(whole.items(), zipfile.ZIP_LZMA))
    refused(path, "packed in an unknown way")
    path.write_bytes(zipped([*whole.items(), ("../../evil", b"x"), ("/evil", b"x")]))
    gx.load(path)
    assert {p.name for p in tmp_path.iterdir()} == {"m.zip"}


def test_a_written_manifest_is_one_that_is_read(whole, place):
    """The text of a manifest that was read is the text that was written."""
    assert manifest_text(Artifact(place(whole)).manifest).encode() == whole[MANIFEST]
