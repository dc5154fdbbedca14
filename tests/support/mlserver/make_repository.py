"""Makes the models that MLServer serves in tests. Runs in MLServer's environment.

Usage: make_repository.py DIRECTORY HTTP_PORT GRPC_PORT. `iris`, versions v1 and v2: FP64 [n, 4] to INT64 [n, 1], the
kind of flower. `echo`: any tensors, given back as they came.
"""

import json
import shutil
import sys
from pathlib import Path

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

# Sepal length and width, petal length and width in cm, as flowers of three kinds might have them.
_FLOWERS = [
    *(([5.0 + 0.1 * n, 3.4, 1.4, 0.2], 0) for n in range(5)),
    *(([5.9 + 0.1 * n, 2.8, 4.3, 1.3], 1) for n in range(5)),
    *(([6.5 + 0.1 * n, 3.0, 5.6, 2.0], 2) for n in range(5)),
]


def make(directory: Path, http_port: int, grpc_port: int) -> None:
    flowers, kinds = [flower for flower, _ in _FLOWERS], [kind for _, kind in _FLOWERS]
    for version, model in (("v1", LogisticRegression(max_iter=500)), ("v2", DecisionTreeClassifier(random_state=0))):
        folder = directory / "iris" / version
        folder.mkdir(parents=True)
        joblib.dump(model.fit(flowers, kinds), folder / "model.joblib")
        _settings(
            folder,
            name="iris",
            implementation="mlserver_sklearn.SKLearnModel",
            platform="sklearn",
            versions=["v1", "v2"],
            inputs=[{"name": "flowers", "datatype": "FP64", "shape": [-1, 4]}],
            outputs=[{"name": "predict", "datatype": "INT64", "shape": [-1, 1]}],
            parameters={"uri": "./model.joblib", "version": version},
        )
    folder = directory / "echo"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("echo_model.py"), folder)
    _settings(folder, name="echo", implementation="echo_model.EchoModel")
    server = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,  # streams need it
        "debug": False,
    }
    (directory / "settings.json").write_text(json.dumps(server))


def _settings(folder: Path, **settings: object) -> None:
    (folder / "model-settings.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
