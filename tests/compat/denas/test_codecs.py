"""DE-NAS's structures, tuples and JSON objects: there and back, with its published networks and its random stream."""

from __future__ import annotations

import ast
import re
from random import Random

import pytest

from hwnas.candidate import Candidate
from hwnas.compat.denas import conf
from hwnas.compat.denas.body import Body
from hwnas.compat.denas.codecs import Alike, Layered, Settings, Structures, drawn, read
from hwnas.compat.denas.domains import DOMAIN
from hwnas.errors import DataError, SpaceError
from hwnas.families.asr import Asr
from hwnas.families.bert import Bert
from hwnas.families.huggingface import HuggingFace
from hwnas.families.plainnet import PlainNet
from hwnas.families.vit import Vit
from hwnas.hardware.params import Params

from ._files import BERTLET, EXAMPLES, A

V1 = (13, 3.5, 4.0, 3.5, 3.0, 3.0, 3.5, 3.0, 3.0, 3.5, 3.0, 4.0, 3.0, 3.5, 6, 9, 6, 3, 6, 10, 5, 9, 5, 3, 5, 3, 3, 448)
"""The network that Intel's published search found."""
STREAM = tuple(
    map(
        ast.literal_eval,
        (
            "(15, 3.5,3.0,3.5,4.0,3.5,3.5,3.5,3.5,3.5,4.0,3.0,4.0,3.0,3.5,3.0, 10,3,7,10,5,7,9,10,7,4,5,3,9,3,10, 448)",
            "(15,4.0,3.0,3.5,3.5,3.5,4.0,4.0,3.0,4.0,3.5,3.5,4.0,3.5,3.0,4.0, 3,3,9,10,6,9,10,10,9,9,3,7,6,10,10, 448)",
            "(13, 4.0,3.5,4.0,3.0,3.0,4.0,3.0,3.0,3.0,4.0,3.5,3.0,3.0, 5,7,6,3,5,7,5,9,3,7,5,10,7, 320)",
        ),
    )
)
"""What its unit test expects of `random.seed(0)`."""
VITS = {
    V1: 26_440_362,
    (12, *[3.0] * 12, *[3] * 12, 192): 4_731_466,
    **dict(zip(STREAM, (33_208_394, 35_390_666, 15_950_218), strict=True)),
}
BERTS = {
    (11, 11, 704, 736, 1824): 75_810_816,
    (11, 10, 640, 720, 2464): 82_267_184,
    (6, 12, 768, 752, 2816): 63_237_072,
    (8, 8, 512, 640, 1824): 49_495_680,
    (12, 12, 768, 768, 3072): 109_482_240,
}

ASRS = {
    (5, 3.0, 5.0, 4.0, 5.0, 3.0, 3, 3, 3, 4, 2, 216): 11_750_592,
    (5, 4.5, 4.5, 4.0, 4.5, 3.0, 3, 3, 3, 4, 2, 216): 11_797_356,
    (5, *[3.0] * 5, *[2] * 5, 192): 9_579_072,
}


def code_of(codec, family, text):
    return family.space.encode(codec.arch(family, text))


@pytest.mark.parametrize(("network", "params"), VITS.items(), ids=lambda value: str(value)[:20])
def test_vit(network, params):
    family, codec = Vit(), Layered()
    code = code_of(codec, family, str(network))
    assert Params()(Candidate(family, code)) == params
    assert codec.text(family, family.space.decode(code)) == str(network)


@pytest.mark.parametrize(("network", "params"), BERTS.items(), ids=str)
def test_bert(network, params):
    family, codec = Bert(), Alike()
    code = code_of(codec, family, str(network))
    assert Body(family)(Candidate(family, code)) == params
    assert codec.text(family, family.space.decode(code)) == str(network)


@pytest.mark.parametrize(("network", "params"), ASRS.items(), ids=lambda value: str(value)[:20])
def test_asr(network, params):
    family, codec = Asr(decoder="fixed", front="linear"), DOMAIN["asr"].codec
    code = code_of(codec, family, str(network))
    assert Body(family)(Candidate(family, code)) == params
    assert codec.text(family, family.space.decode(code)) == str(network)


def test_a_cnn_is_its_structure():
    family, codec = PlainNet(classes=100), Structures()
    assert codec.text(family, codec.arch(family, A)) == A


def test_a_model_of_the_transformers_library_is_a_json_object():
    family, codec = HuggingFace(config=BERTLET, search={"intermediate_size": None}, length=8), Settings()
    for code in list(family.space.codes())[:20]:
        text = codec.text(family, family.space.decode(code))
        arch = codec.arch(family, text)
        assert codec.text(family, arch) == text
    original = '{"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32}'
    assert family.space.encode(codec.arch(family, original)) == family.space.largest


def test_the_random_stream_of_denas():
    space = conf.read(EXAMPLES / "e2eaiok_denas_vit.conf").values["SEARCH_SPACE"]
    rng = Random(0)
    lists = [space[name] for name in ("DEPTH", "MLP_RATIO", "NUM_HEADS", "EMBED_DIM")]
    assert tuple(drawn(rng, *lists) for _ in STREAM) == STREAM


def test_cardinalities():
    def options(domain):
        values = {**DOMAIN[domain].defaults, **conf.read(EXAMPLES / f"e2eaiok_denas_{domain}.conf").values}
        (found,) = DOMAIN[domain].family(values, []).values()
        return found

    vit, bert = Vit(**options("vit")).space.size, Bert(**options("bert")).space.size
    assert vit == sum(21**depth * 9 for depth in range(12, 17)) == 13_518_870_812_664_381_228_645
    assert bert == 9 * 5 * 41 * 93
    assert Asr(**options("asr")).space.size == sum(15**depth * 6 for depth in range(5, 13))


MALFORMED = {
    "no tuple": (Layered(), "12", "no tuple of numbers"),
    "no literal": (Layered(), "(1, __import__('os'))", "no tuple of numbers"),
    "words": (Layered(), "(1, 'x', 3, 192)", "'x' is no number"),
    "a number short": (Layered(), "(2, 3.0, 3.0, 3, 192)", "a network of 2 layers is written with 6 numbers, not 5"),
    "nothing": (Layered(), "()", "4 or more numbers"),
    "half a layer": (Layered(), "(1.5, 3.0, 3, 192)", "not 4"),
    "too few": (Alike(), "(12, 12, 768)", "5 numbers, not 3"),
    "heads of another width": (Alike(), "(12, 12, 700, 768, 3072)", "12 heads are 768 channels wide, not 700"),
    "no JSON": (Settings(), "(1, 2)", "is no JSON"),
    "no object": (Settings(), "[1, 2]", "is no JSON object"),
}


@pytest.mark.parametrize(("codec", "text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(codec, text, message):
    with pytest.raises(SpaceError, match=re.escape(message)):
        codec.arch(Vit(), text)


def test_networks_that_a_space_lacks():
    with pytest.raises(SpaceError, match="'width' cannot be 200"):
        Layered().arch(Vit(), str((12, *[3.0] * 12, *[3] * 12, 200)))
    with pytest.raises(SpaceError, match="'hidden_size'"):
        family = HuggingFace(config=BERTLET, length=8)
        Settings().arch(family, '{"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 31}')


def test_the_last_line_of_a_file_counts(tmp_path):
    path = tmp_path / "best_model_structure.txt"
    path.write_text(f"(something, else)\n{(11, 11, 704, 736, 1824)}\n\n", encoding="utf-8")
    assert read(path, Alike(), Bert()) == {"layers": 11, "heads": 11, "width": 736, "hidden": 1824}
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        read(path, Alike(), Bert())
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "none.txt", Alike(), Bert())
