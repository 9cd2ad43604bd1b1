"""Documents held against the schemas of `tests/fixtures/schemas`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent / "fixtures" / "schemas"
#: The schema of each kind of object.
KINDS = {
    ("apps/v1", "Deployment"): "deployment",
    ("v1", "Service"): "service",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "horizontalpodautoscaler",
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): "leaderworkerset",
    ("serving.kserve.io/v1beta1", "InferenceService"): "inferenceservice",
}


@functools.cache
def validator(name: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def assert_object(document: Any) -> None:
    """Hold an object of Kubernetes against the schema of its kind."""
    validator(KINDS[document["apiVersion"], document["kind"]]).validate(document)
