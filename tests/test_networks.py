"""U-Net and DeepLabv3+ against what is published of them: parameters, shapes, resolution; and files of weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfcbench.errors import UsageError
from dfcbench_methods.networks.deeplab import DeepLabV3Plus
from dfcbench_methods.networks.resnet import BLOCKS, ResNet, load_imagenet
from dfcbench_methods.networks.unet import UNet
from dfcbench_methods.networks.weight_files import digest, load_into, read_weights

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolution(inputs: int, outputs: int, kernel: int, bias: bool = False) -> int:
    """Weights of a convolution, without bias, and of the batch normalisation behind it."""
    return inputs * outputs * kernel**2 + (outputs if bias else 0) + 2 * outputs


def unet_size(channels: int, classes: int) -> int:
    def double(inputs: int, outputs: int) -> int:
        return convolution(inputs, outputs, 3, bias=True) + convolution(outputs, outputs, 3, bias=True)

    down = [(channels, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    up = [(512 + 512, 256), (256 + 256, 128), (128 + 128, 64), (64 + 64, 64)]
    return sum(double(*pair) for pair in down + up) + 64 * classes + classes


def resnet_size(channels: int, blocks: tuple[int, ...]) -> int:
    total, inputs = convolution(channels, 64, 7), 64
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        for block in range(count):
            total += convolution(inputs, inner, 1) + convolution(inner, inner, 3) + convolution(inner, 4 * inner, 1)
            if block == 0:
                total += convolution(inputs, 4 * inner, 1)
            inputs = 4 * inner
    return total


def head_size(classes: int) -> int:
    pyramid = convolution(2048, 256, 1) + 3 * convolution(2048, 256, 3) + convolution(2048, 256, 1)
    decoder = convolution(256, 48, 1) + convolution(256 + 48, 256, 3) + convolution(256, 256, 3)
    return pyramid + convolution(5 * 256, 256, 1) + decoder + 256 * classes + classes


@pytest.mark.parametrize("channels", [10, 12])
def test_the_unet_has_the_published_number_of_parameters(channels: int) -> None:
    assert size(UNet(channels, 8)) == unet_size(channels, 8)


def test_the_unet_has_as_many_parameters_as_its_form_for_colour_pictures_is_known_to_have() -> None:
    assert size(UNet(3, 1)) == 13_395_329


@pytest.mark.parametrize(("name", "known"), [("resnet50", 25_557_032), ("resnet101", 44_549_160)])
def test_the_backbones_are_the_known_resnets_without_classifier(name: str, known: int) -> None:
    classifier = 2048 * 1000 + 1000
    assert size(ResNet(3, BLOCKS[name])) == resnet_size(3, BLOCKS[name]) == known - classifier


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_deeplab_has_the_published_number_of_parameters(name: str) -> None:
    assert size(DeepLabV3Plus(10, 8, name)) == resnet_size(10, BLOCKS[name]) + head_size(8)


def test_the_backbone_has_output_stride_16_and_low_level_features_of_stride_4() -> None:
    low, high = ResNet(10, BLOCKS["resnet50"], width=4).eval()(torch.rand(1, 10, 256, 256))
    assert low.shape == (1, 16, 64, 64)
    assert high.shape == (1, 128, 16, 16)


def test_the_pyramid_has_the_published_rates() -> None:
    network = DeepLabV3Plus(10, 8, "resnet50", width=4)
    kernels = [branch[0] for branch in network.pyramid.branches]
    assert [(k.kernel_size[0], k.dilation[0]) for k in kernels] == [(1, 1), (3, 6), (3, 12), (3, 18)]
    assert [block.conv2.dilation[0] for block in network.backbone.layer4] == [2, 4, 8]


def test_the_unet_looks_through_four_levels_and_brings_each_back() -> None:
    seen = []
    network = UNet(10, 8).eval()
    for block in [*network.down, *network.up]:
        block.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:3])))
    network(torch.rand(1, 10, 32, 32))
    down = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert seen == [*down, (256, 4), (128, 8), (64, 16), (64, 32)]


@pytest.mark.parametrize("build", [lambda: UNet(10, 8, 4), lambda: DeepLabV3Plus(10, 8, "resnet50", 4)])
@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (5, 130), (1, 1), (97, 16)])
def test_maps_have_the_size_of_the_image_whatever_it_is(build: Any, shape: tuple[int, int]) -> None:
    logits = build().eval()(torch.rand(2, 10, *shape))
    assert logits.shape == (2, 8, *shape)
    assert torch.isfinite(logits).all()


def test_a_unet_on_an_image_of_odd_size_sees_the_image_continued_by_its_border() -> None:
    network = UNet(10, 8, 4).eval()
    x = torch.rand(1, 10, 30, 45)
    rows, columns = torch.arange(32).clamp(max=29), torch.arange(48).clamp(max=44)
    torch.testing.assert_close(network(x), network(x[:, :, rows][:, :, :, columns])[..., :30, :45])


# Files of weights


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any] | None = None) -> Path:
    """Written from the format's description, by hand."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else struct.pack("<q", int(tensor))
        offsets = [len(data), len(data) + len(raw)]
        entries[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header if header is not None else entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def small() -> UNet:
    torch.manual_seed(3)
    return UNet(10, 8, 2)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_from_a_file_become_the_network_s(tmp_path: Path, suffix: str) -> None:
    source, target = small(), UNet(10, 8, 2)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    else:
        write_safetensors(path, source.state_dict())
    load_into(target, read_weights(str(path)), str(path))
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value, rtol=0, atol=0)


def test_safetensors_of_every_kind_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).half(),
        "c": torch.randn(2, 2).bfloat16(),
        "d": torch.tensor(7),
        "e": torch.empty(0, 3),
        "f": torch.tensor([True, False]),
    }
    path = tmp_path / "all.safetensors"
    save_file(tensors, path)
    found = read_weights(str(path))
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_weights_of_another_network_are_refused_with_every_fault_named() -> None:
    weights = dict(small().state_dict())
    del weights["head.bias"]
    weights["tail.bias"] = torch.zeros(8)
    weights["head.weight"] = torch.zeros(5, 2, 1, 1)
    weights["down.0.0.bias"] = torch.tensor([1.0, float("nan")])
    network = UNet(10, 8, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load_into(network, weights, "mine.pt")
    for part in (
        "mine.pt",
        "1 missing: head.bias",
        "1 unexpected: tail.bias",
        "head.weight (5, 2, 1, 1) instead of (8, 2, 1, 1)",
        "1 not finite: down.0.0.bias",
    ):
        assert part in str(caught.value)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched_by_a_weights_file"),))


def test_files_that_are_no_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / name for name in ("text.pt", "evil.pt", "list.pt", "empty.pt")}
    files["text.pt"].write_text("no weights")
    torch.save({"weights": Evil()}, files["evil.pt"])
    torch.save([torch.zeros(3)], files["list.pt"])
    torch.save({}, files["empty.pt"])
    for path in (*files.values(), tmp_path / "absent.pt"):
        with pytest.raises(UsageError, match=path.name):
            read_weights(str(path))
    assert not Path("touched_by_a_weights_file").exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [400], "data_offsets": [0, 1600]},
        {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]},
        {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4]},
        7,
    ],
)
def test_broken_safetensors_are_refused(tmp_path: Path, entry: Any) -> None:
    path = write_safetensors(tmp_path / "broken.safetensors", {"a": torch.zeros(4)}, {"a": entry})
    with pytest.raises(UsageError, match=r"broken\.safetensors.*Fetch or write it again"):
        read_weights(str(path))


@pytest.mark.parametrize("change", [-5, 5], ids=["too short", "too long"])
def test_safetensors_of_another_length_than_their_header_tells_are_refused(tmp_path: Path, change: int) -> None:
    path = write_safetensors(tmp_path / "broken.safetensors", {"a": torch.zeros(400), "b": torch.ones(3)})
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(UsageError, match=r"broken\.safetensors.*Fetch or write it again"):
        read_weights(str(path))


def test_narrow_floats_are_widened_and_checked(tmp_path: Path) -> None:
    network = nn.Linear(4, 1, bias=False)
    weights = {"weight": torch.tensor([[0.5, -2.0, 1.0, 4.0]]).to(torch.float8_e4m3fn)}
    save_file(weights, tmp_path / "narrow.safetensors")
    load_into(network, read_weights(str(tmp_path / "narrow.safetensors")), "narrow")
    assert network.weight.tolist() == [[0.5, -2.0, 1.0, 4.0]]
    weights["weight"] = torch.tensor([[0.5, float("nan"), 1.0, 4.0]]).to(torch.float8_e4m3fn)
    save_file(weights, tmp_path / "holes.safetensors")
    with pytest.raises(UsageError, match="1 not finite: weight"):
        load_into(network, read_weights(str(tmp_path / "holes.safetensors")), "holes")


@pytest.mark.parametrize("content", [b"", b"\x01", struct.pack("<Q", 10**9) + b"{}", struct.pack("<Q", 4) + b"[1,2"])
def test_safetensors_without_a_sound_header_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.safetensors.*Fetch or write it again"):
        read_weights(str(path))


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    third.write_bytes(b"two")
    assert digest(str(first)) == digest(str(second)) != digest(str(third))


def test_imagenet_weights_fit_a_backbone_of_more_bands() -> None:
    torch.manual_seed(0)
    source = ResNet(3, BLOCKS["resnet50"], width=4).eval()
    weights = {**source.state_dict(), "fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}
    target = ResNet(10, BLOCKS["resnet50"], width=4).eval()
    load_imagenet(target, weights, "imagenet.pt")
    grey = torch.rand(1, 1, 40, 40)
    for found, wanted in zip(target(grey.expand(-1, 10, -1, -1)), source(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match=r"conv1\.weight \(4, 10, 7, 7\) instead of \(8, 10, 7, 7\)"):
        load_imagenet(ResNet(10, BLOCKS["resnet50"], width=8), weights, "imagenet.pt")
    same = ResNet(3, BLOCKS["resnet50"], width=4)
    load_imagenet(same, weights, "imagenet.pt")
    np.testing.assert_array_equal(same.conv1.weight.detach(), source.conv1.weight.detach())
