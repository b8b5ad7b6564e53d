"""What the battery has to know of stationary-compat: a version follows an earlier one."""

import json
from dataclasses import replace

import numpy as np

from brickwork.training.run import run_to_dict


def earlier(case, folder):
    """Run folders of two models as an earlier version would have left them."""
    made = []
    for seed in (1, 2):
        case.fresh(seed=seed).representation().save(folder / f"v{seed}")
        (folder / f"v{seed}" / "config.json").write_text(json.dumps(run_to_dict(case.run)))
        made.append(str(folder / f"v{seed}"))
    return {"previous": made, "base": made}


def starts(case, made):
    """A successor on data that lacks half of the earlier model's classes."""
    data, half = case.data, case.data.num_classes // 2
    rows = np.flatnonzero(np.asarray(data.train.columns["label"]) < half).tolist()
    fewer = replace(
        data, train=data.train.select(rows), class_names=data.class_names[:half], num_classes=half
    )
    yield replace(case.run.model, previous=made["previous"][0]), fewer
