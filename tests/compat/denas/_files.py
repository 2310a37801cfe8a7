"""What the tests of DE-NAS share: its example files, and small conf files of every domain."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

EXAMPLES = Path(__file__).parents[3] / "examples" / "denas"
A = (
    "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,1,8,1)SuperResK3K3(16,32,2,16,1)SuperResK3K3(32,64,2,32,1)"
    "SuperResK3K3(64,64,2,32,1)SuperConvK1BNRELU(64,128,1,1)"
)
"""The network that DE-NAS's CNN search starts from."""
SMALL = "SuperConvK3BNRELU(3,8,1,1)SuperResK3K3(8,16,2,8,1)SuperResK3K3(16,16,2,8,1)SuperConvK1BNRELU(16,16,1,1)"
FEW = {
    "search_engine": "EvolutionarySearchEngine",
    "max_epochs": 2,
    "random_max_epochs": 3,
    "sigopt_max_epochs": 3,
    "population_num": 2,
    "mutation_num": 2,
    "crossover_num": 2,
    "batch_size": 4,
}
LISTS = {"MLP_RATIO": [1.0, 1.5], "NUM_HEADS": [1, 2], "EMBED_DIM": [16, 24], "DEPTH": [1, 2, 3]}
RANGES = {
    "LAYER_NUM": {"bounds": {"min": 1, "max": 2, "step": 1}, "type": "int"},
    "HEAD_NUM": {"bounds": {"min": 1, "max": 2, "step": 1}, "type": "int"},
    "HIDDEN_SIZE": {"bounds": {"min": 16, "max": 32, "step": 16}, "type": "int"},
    "INTERMEDIATE_SIZE": {"bounds": {"min": 16, "max": 48, "step": 16}, "type": "int"},
}
TINY = {
    "cnn": {
        "model_type": "cnn",
        **FEW,
        "img_size": 8,
        "num_classes": 10,
        "plainnet_struct": SMALL,
        "budget_model_size": 20_000,
    },
    "vit": {"model_type": "transformer", **FEW, "img_size": 32, "num_classes": 10, "SEARCH_SPACE": LISTS},
    "bert": {"model_type": "bert", **FEW, "img_size": 8, "SEARCH_SPACE": RANGES},
    "asr": {"model_type": "asr", **FEW, "SEARCH_SPACE": LISTS},
    "hf": {"model_type": "hf", **FEW, "img_size": 8},
}
"""A conf file of every domain whose networks are small; that of hf needs the folder of `model`."""
BERTLET = {
    "model_type": "bert",
    "vocab_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}


def conf(place: Path, domain: str, **changes: object) -> str:
    """A small conf file in a folder; None leaves a key out."""
    values = {key: value for key, value in {**TINY[domain], **changes}.items() if value is not None}
    path = place / f"{domain}.conf"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


def model(place: Path, name: str = "bertlet") -> dict[str, str]:
    """A folder with a configuration of the transformers library, and the keys that name it."""
    (place / name).mkdir()
    (place / name / "config.json").write_text(json.dumps(BERTLET), encoding="utf-8")
    return {"pretrained_model_path": str(place), "supernet": name}
