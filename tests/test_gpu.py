"""What only a GPU can show. `make test-gpu` on such a machine; skipped elsewhere."""

import numpy as np
import pytest
import torch
from app.serving import make_bundle
from hydra.utils import instantiate
from running import ANY_MODEL
from test_conf import CONF, composed
from torch.nn import functional as F

from cifar_lit import checkpoint, runs
from cifar_lit.data.course import Course
from cifar_lit.data.dataset import Split
from cifar_lit.data.loaders import DeviceLoader, Normalize, Place
from cifar_lit.experiment import Experiment
from cifar_lit.predict import Predictor
from cifar_lit.seeding import numpy_generator

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]

ON_GPU = [item for item in ANY_MODEL if not item.startswith("trainer.accelerator")] + ["trainer=gpu"]
POLICIES = [path.stem for path in sorted((CONF / "augment").glob("*.yaml")) if path.stem != "trivial"]
MIXES = [path.stem for path in sorted((CONF / "mix").glob("*.yaml"))]


@pytest.fixture
def no_waiting():
    """An error from every operation that waits for the device."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode(before)


def images(n: int = 256) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 100, n))


@pytest.mark.parametrize("policy", POLICIES)
def test_batches_are_made_without_waiting(policy, request):
    cuda = torch.device("cuda")
    augment = instantiate(composed(f"augment={policy}").augment, _convert_="all")
    normalize = Normalize((0.5,) * 3, (0.25,) * 3, cuda)
    loader = DeviceLoader(images(), augment, normalize, course=Course(batch_size=64), seed=0, place=Place(cuda))
    list(loader)  # warm up: the first use of a kernel may wait
    request.getfixturevalue("no_waiting")
    for pictures, labels in loader:
        assert pictures.device.type == labels.device.type == "cuda"


@pytest.mark.parametrize("policy", POLICIES)
def test_both_devices_augment_alike(policy):
    """The same draws, on the CPU and on the GPU: the same pixels, but for noise, which each device draws itself."""
    cfg = composed(f"augment={policy}").augment
    if "corrupt" in cfg:
        cfg.corrupt = None
    augment = instantiate(cfg, _convert_="all")
    batches = {}
    for name in ("cpu", "cuda"):
        place = Place(torch.device(name))
        normalize = Normalize((0.5,) * 3, (0.25,) * 3, place.device)
        loader = DeviceLoader(images(), augment, normalize, course=Course(batch_size=64), seed=0, place=place)
        batches[name] = torch.cat([pictures.cpu() for pictures, _ in loader])
    torch.testing.assert_close(batches["cpu"], batches["cuda"], atol=0.02, rtol=0)


@pytest.mark.parametrize("name", MIXES)
def test_mixing_does_not_wait(name, request):
    mix = instantiate(composed(f"mix={name}").mix)
    if mix is None:
        return
    pictures, labels = torch.randn(64, 3, 32, 32, device="cuda"), torch.randint(100, (64,), device="cuda")
    for step in range(3):
        mix(pictures, labels, 100, numpy_generator(0, step))
    request.getfixturevalue("no_waiting")
    for step in range(10):
        mix(pictures, labels, 100, numpy_generator(0, step))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["trainer.precision=bf16-mixed", "mix=cutmix", "callbacks=ema", "augment=enhanced"],
        ["data.engine=workers", "data.workers=2", "mix=mixup"],
        ["optimizer=sam", "trainer.precision=bf16-mixed"],
        ["trainer.gradient_clip_val=1.0", "trainer.accumulate_grad_batches=2"],
        ["optim=muon_cosine", "trainer.precision=32-true"],
    ],
    ids=lambda options: " ".join(options) or "16-mixed",
)
def test_options_train(train, options):
    ran = train(*ON_GPU, *options)
    assert ran.code == 0, ran.err
    summary = runs.read_summary(ran.folder)
    assert summary["device"] == torch.cuda.get_device_name()
    if not options:
        assert summary["precision"] == "16-mixed"


def test_sam_refuses_16_mixed(train):
    ran = train(*ON_GPU, "optimizer=sam")
    assert ran.code == 1
    assert "bf16-mixed" in ran.err


def test_a_resumed_run_goes_on(train):
    first = train(*ON_GPU, "trainer.max_epochs=3", "trainer.deterministic=true", "trainer.precision=32-true", folder="whole")
    assert first.code == 0, first.err
    (first.folder / "summary.json").unlink()
    epoch = checkpoint.read(first.folder / "checkpoints" / "previous.ckpt")["epoch"]
    again = train(f"resume={first.folder}", folder="")
    assert again.code == 0, again.err
    assert epoch == 1


def weights(folder):
    return checkpoint.read(folder / "checkpoints" / "last.ckpt")["state_dict"]


@pytest.mark.parametrize(
    "options",
    [
        ["scheduler.cycle_momentum=false"],
        [],  # the default recipe: the momentum cycles, and the steps are those of optim/cycled.py
        ["optim=adam_onecycle", "optimizer.weight_decay=1e-4"],
        ["scheduler.cycle_momentum=false", "mix=cutmix", "loss=label_smoothing", "trainer.gradient_clip_val=1.0"],
        ["optim=adamw_cosine", "augment=enhanced", "model.dropout=0.1"],
        ["optim=muon_sgd_onecycle_linear", "model=speednet_small", "data.sizes={0.0:20,0.5:24}"],
        ["scheduler.cycle_momentum=false", "trainer.precision=bf16-mixed"],  # whose casts of weights a graph must make anew
        ["scheduler.cycle_momentum=false", "data.batch_size=48"],  # the last batch is shorter, and has a graph of its own
        ["scheduler.cycle_momentum=false", "callbacks=[ema,lookahead]"],
        ["optim=rmsprop_cosine"],
        ["scheduler.cycle_momentum=false", "data.engine=workers", "data.workers=2"],  # pinned by a thread during the recording
    ],
    ids=lambda options: " ".join(options) or "plain",
)
@pytest.mark.parametrize("ahead", [False, True], ids=["recorded on the way", "recorded before training"])
def test_a_graph_gives_the_weights_of_its_steps_to_rounding(train, monkeypatch, compiling_nothing, options, ahead):
    """Whole steps replayed as CUDA graphs, beside the same task without them, in 32-bit, uncompiled, by fixed algorithms.

    Twenty steps make much of a difference in the last bit, which other kernels cause: the measure of it is a third run,
    whose first weights are changed by a millionth. Both distances are of one size, not ordered: three times is allowed.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    exact = ["trainer=fast", "trainer.precision=32-true", "trainer.compile=false", "trainer.max_epochs=2"]
    exact += ["trainer.deterministic=true", "trainer.benchmark=false", *options]
    graphed = train(*ON_GPU[:-1], *exact, *(["trainer.compile=true"] if ahead else []), folder="graphed")
    eager = train(*ON_GPU[:-1], *exact, "trainer.graph=false", folder="eager")
    build = Experiment._task

    def nudged(*arguments):
        task = build(*arguments)
        with torch.no_grad():
            for parameter in task.net.parameters():
                parameter.mul_(1 + 1e-6)
        return task

    monkeypatch.setattr(Experiment, "_task", nudged)
    other = train(*ON_GPU[:-1], *exact, "trainer.graph=false", folder="other")
    assert eager.code == graphed.code == other.code == 0, eager.err + graphed.err + other.err
    assert "No CUDA graph" not in graphed.out
    inside = not {"mix=cutmix", "augment=enhanced", "data.engine=workers"} & set(options)
    assert ("recorded within the first steps" in graphed.out) == (ahead and not inside)
    assert distance(graphed, eager) <= 3 * distance(other, eager)


def distance(one, other):
    """The largest relative difference of a weight or statistic, as a whole, of two runs."""
    expected = {name: tensor.double() for name, tensor in weights(other.folder).items()}
    found = weights(one.folder)
    return max(float((found[name].double() - tensor).norm() / tensor.norm().clamp(min=1e-9)) for name, tensor in expected.items())


@pytest.mark.parametrize("name", ["speednet", "speednet_small", "resnet18"])
def test_compiled_gradients_are_those_of_the_network(name):
    """In bfloat16, where a compiled network keeps what the other rounds: as near to the gradient in 32-bit as that one."""
    torch.manual_seed(0)
    net = instantiate(composed(f"model={name}").model)(num_classes=100).cuda().to(memory_format=torch.channels_last)
    pictures = torch.randn(250, 3, 20, 20, device="cuda").contiguous(memory_format=torch.channels_last)

    def gradient(network, mixed):
        net.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            loss = F.cross_entropy(network(pictures), torch.arange(250, device="cuda") % 100)
        loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])

    exact, eager = gradient(net, mixed=False), gradient(net, mixed=True)
    compiled = gradient(torch.compile(net, dynamic=False), mixed=True)
    assert compiled.isfinite().all()
    assert F.cosine_similarity(compiled, exact, dim=0) > F.cosine_similarity(eager, exact, dim=0) - 0.02


def test_predictions_are_those_of_the_cpu(tmp_path):
    torch.manual_seed(0)
    folder = make_bundle(tmp_path / "model")
    pixels = images(20).images
    found = {device: Predictor(folder, device=device).logits(list(pixels)) for device in ("cpu", "cuda")}
    np.testing.assert_allclose(found["cuda"], found["cpu"], atol=2e-2)  # convolutions round to TF32
    assert (found["cuda"].argmax(1) == found["cpu"].argmax(1)).mean() > 0.9


def test_fast_as_it_comes(train):
    ran = train(*ON_GPU[:-1], "trainer=fast")
    assert ran.code == 0, ran.err
    assert "No CUDA graph" not in ran.out
    summary = runs.read_summary(ran.folder)
    assert summary["precision"] == "bf16-mixed" and summary["compile_seconds"] > 0


def test_a_repeat_on_the_gpu_is_the_run_alone(train):
    exact = ["trainer=fast", "scheduler.cycle_momentum=false", "trainer.deterministic=true", "trainer.benchmark=false"]
    many = train(*ON_GPU[:-1], *exact, "repeat=2", folder="many")
    alone = train(*ON_GPU[:-1], *exact, "seed=1", folder="alone")
    assert many.code == alone.code == 0, many.err + alone.err
    one, other = weights(many.folder / "1"), weights(alone.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)
