"""Files that were made to harm: what they run leaves a marker, what they ask for has no end."""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import torch

from cifar_lit.model.registry import build

NETWORK = {"network": "ResNet", "block": "basic", "layers": [1, 1], "widths": [4, 8], "num_classes": 5}


def weights():
    torch.manual_seed(0)
    return build(NETWORK).state_dict()


def text(words):
    """A text as an opcode."""
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def call(name, *args):
    """The pickle of a call: name is "module function", args are pickled already."""
    module, _, function = name.partition(" ")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(args) + b"tR"


def attribute(of, name):
    return call("builtins getattr", of, text(name))


def calls(marker):
    """Pickles, without their end, that would make the marker if they were run as they ask."""
    shell, python = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w').close()")
    importing = call("builtins __import__", text("os"))
    system = attribute(importing, "system")
    return {
        "os_system": call("os system", shell),
        "posix_system": call("posix system", shell),
        "nt_system": call("nt system", shell),
        "os_popen": call("os popen", shell),
        "os_execl": call("os execlp", text("touch"), text("touch"), text(str(marker))),
        "subprocess": call("subprocess check_output", b"](" + text("touch") + text(str(marker)) + b"e"),
        "popen_newobj": b"csubprocess\nPopen\n(](" + text("touch") + text(str(marker)) + b"et\x81",
        "pty_spawn": call("pty spawn", b"](" + text("touch") + text(str(marker)) + b"e"),
        "eval": call("builtins eval", python),
        "exec": call("builtins exec", python),
        "python2_eval": call("__builtin__ eval", python),
        "open": call("builtins open", text(str(marker)), text("w")),
        "io_open": call("io open", text(str(marker)), text("w")),
        "codecs_open": call("codecs open", text(str(marker)), text("w")),
        "path_touch": call("pathlib Path.touch", call("pathlib PosixPath", text(str(marker)))),
        "import": call("builtins __import__", text("antigravity")),
        "importlib": call("importlib import_module", text("antigravity")),
        "getattr_chain": system[:-2] + b"tR(" + shell + b"tR",
        "getattr_of_a_builder": attribute(attribute(b"ccollections\nOrderedDict\n", "__init__"), "__globals__"),
        "getattr_of_torch": call("torch._utils _import_dotted_name", text("os.system")),
        "dotted_name": b"\x80\x04" + text("torch") + text("os.system") + b"\x93(" + shell + b"tR",
        "dotted_torch": b"\x80\x04" + text("torch._utils") + text("sys.modules") + b"\x93",
        "stack_global": b"\x80\x04" + text("os") + text("system") + b"\x93(" + shell + b"tR",
        "inst": b"(" + shell + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + shell + b"o",
        "newobj_ex": b"\x80\x04cos\nsystem\n(" + shell + b"t}\x92",
        "build_setstate": call("models Net") + b"}" + text("__setstate__") + b"cnumpy\nsystem\nsb" + shell + b"b",
        "build_on_a_class": b"ccollections\nOrderedDict\n}" + text("__init__") + b"cmodels\nf\nsb",
        "operator": call("operator methodcaller", text("system"), shell) + b"(" + importing + b"tR",
        "attrgetter": call("operator attrgetter", text("system")) + b"(cmodels\nos\ntR(" + shell + b"tR",
        "functools_partial": call("functools partial", b"cposix\nsystem\n", shell) + b")R",
        "map": call("builtins list", call("builtins map", b"cbuiltins\neval\n", b"](" + python + b"e")),
        "runpy": call("runpy run_path", text(str(marker))),
        "timeit": call("timeit timeit", python),
        "cprofile": call("cProfile run", python),
        "pydoc": call("pydoc pipepager", text(""), shell),
        "numpy_runstring": call("numpy.testing._private.utils runstring", python, b"}"),
        "numpy_load": call("numpy load", text(str(marker))),
        "torch_load": call("torch load", text(str(marker))),
        "torch_hub": call("torch.hub load", text("a/b"), text("c")),
        "torch_extension": call("torch.utils.cpp_extension load_inline", text("a"), text("int main(){}")),
        "torch_jit": call("torch.jit.unsupported_tensor_ops execWrapper", python, b"}", b"}"),
        "types_function": call("types FunctionType", call("marshal loads", text("x")), b"}"),
        "ctypes": call("ctypes CDLL", text(str(marker))),
        "logging_config": call("logging.config dictConfig", b"}" + text("()") + text("os.system") + b"s"),
        "hydra_instantiate": call("hydra.utils instantiate", b"}" + text("_target_") + text("os.system") + b"s"),
        "nested_pickle": call("pickle loads", b"C" + bytes([len(p := b"cos\nsystem\n.")]) + p),
        "persistent_id": b"cos\nsystem\n(" + shell + b"tRQ",
        "extension_code": b"\x80\x02\x82\x01",
        "webbrowser": call("webbrowser open", text("http://localhost/")),
        "setattr": call("builtins setattr", b"ctorch\nload\n", text("x"), b"I1\n"),
        "tensor_of_a_call": call("torch._utils _rebuild_tensor_v2", call("models storage"), b"I0\n", b"(t(tI00\nN"),
        "type_v2": call("torch._tensor _rebuild_from_type_v2", b"cposix\nsystem\n", b"ctorch\nTensor\n(", shell, b"tN"),
        "defaultdict_factory": call("collections defaultdict", b"cbuiltins\nexec\n"),
    }


def zipped(data, storages=(), compression=zipfile.ZIP_STORED, root="archive/"):
    """torch's zip around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{root}data.pkl", data)
        archive.writestr(f"{root}byteorder", "little")
        for index, storage in enumerate(storages):
            archive.writestr(f"{root}data/{index}", storage)
        archive.writestr(f"{root}version", "3\n")
    return file.getvalue()


def legacy(data):
    """torch's format before 1.6 around a pickle, without tensors."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join([*head, data, pickle.dumps([], 2)])


def torch_bytes(value, new=True):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def tensor(size, stride, numel=4, offset=0, kind="FloatStorage", function="torch._utils _rebuild_tensor_v2"):
    """The pickle of a tensor over storage 0."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu") + f"L{numel}L\n".encode() + b"tQ"
    numbers = [b"(" + b"".join(f"L{n}L\n".encode() for n in values) + b"t" for values in (size, stride)]
    return call(function, storage, f"L{offset}L\n".encode(), *numbers, b"I00\n", b"ccollections\nOrderedDict\n)R")


def state(value):
    """The pickle of a state dict of one weight."""
    return b"}" + text("conv1.weight") + value + b"s."


def tensors():
    """Tensors that lie about what is stored, in a zip with 16 bytes of numbers."""
    cases = {
        "expanded": tensor((1 << 40,), (0,)),
        "expanded_dimensions": tensor((1 << 20, 1 << 20, 3, 3), (0, 0, 0, 0)),
        "overlapping": tensor((4, 4, 3, 3), (0, 0, 0, 0)),
        "out_of_bounds": tensor((4,), (2,)),
        "offset_out_of_bounds": tensor((4,), (1,), offset=1 << 40),
        "negative_offset": tensor((2,), (1,), offset=-2),
        "negative_stride": tensor((2,), (-1,), offset=1),
        "negative_size": tensor((-2, -2), (1, 1)),
        "overflow": tensor((1 << 62, 4), (1, 1)),
        "more_than_stored": tensor((1 << 30,), (1,), numel=1 << 30),
        "negative_numel": tensor((4,), (1,), numel=-4),
        "many_dimensions": tensor((1,) * 70, (1,) * 70),
        "strides_missing": tensor((2, 2), (1,)),
        "quantized": tensor((4,), (1,), kind="QUInt8Storage"),
        "complex": tensor((2,), (1,), kind="ComplexFloatStorage"),
        "unknown_storage": tensor((4,), (1,), kind="EvilStorage"),
        "sparse": call("torch._utils _rebuild_sparse_tensor", b"I0\n", b"(t"),
        "meta": call("torch._utils _rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", b"(t", b"(t", b"I00\n"),
        "wrapped": call("torch._utils _rebuild_wrapper_subclass", b"(t"),
        "no_such_storage": tensor((4,), (1,)).replace(text("0") + text("cpu"), text("../../etc/passwd") + text("cpu")),
    }
    cases["object_array"] = (
        call("numpy.core.multiarray _reconstruct", b"cnumpy\nndarray\n", b"(I0\nt", text("b"))
        + b"(I1\n(I1\nt" + call("numpy dtype", text("O8"), b"I00\n", b"I01\n") + b"I00\n](cos\nsystem\netb"
    )  # fmt: skip
    return {name: zipped(state(value), [b"\0" * 16]) for name, value in cases.items()}


def bombs(steps=2_000_000):
    """Pickles that would take all memory or all time, and zips that would. steps: of the reader, for the longest."""
    laughs = b"(" + text("ha") * 10 + b"tq\x00" + b"".join(b"0(" + b"h%c" % n * 10 + b"tq" + bytes([n + 1]) for n in range(100))
    repeated = text("x" * 1_000_000) + b"q\x000c_codecs\nencode\nq\x010]"
    repeated += b"h\x01h\x00X\x06\0\0\0latin1\x86Ra" * 20_000 + b"."
    collisions = b"}(" + b"".join(b"\x8a\x0a" + ((2**61 - 1) * n).to_bytes(10, "little") + b"N" for n in range(1, 60_000)) + b"u."
    modest = b"}(" + b"".join(b"\x8a\x08" + (2**40 * n).to_bytes(8, "little") + b"N" for n in range(1, 60_000)) + b"u."

    def deep(size: int) -> dict[str, bytes]:
        """In steps of the reader: more than any recursion, and many objects to take down."""
        return {
            "deep_list": b"]" * (3 * size // 4) + b"a" * (3 * size // 4 - 1) + b".",
            "deep_tuple": b")" + b"\x85" * (3 * size // 4) + b".",
            "deep_key": b"})" + b"\x85" * (size // 7) + b"Ns.",
            "deep_calls": b"ca\nb\n" + b")R" * (size // 3) + b".",
            "deep_tables": (b"}" + text("a")) * (size // 5) + b"N" + b"s" * (size // 5) + b".",
            "marks": b"(" * (19 * size // 20) + b".",
            "sets": b"\x8f0" * (9 * size // 20) + b"N.",
        }

    pickles = {
        "laughs": laughs + b".",
        "laughs_as_key": b"}" + laughs + b"Ns.",
        "giant_memo": b"Nr\xff\xff\xff\x7f.",
        "giant_text_memo": b"Np99999999999999999999\n.",
        "giant_bytes": b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        "giant_bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 62) + b"x.",
        "giant_frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        "giant_text": b"\x8d" + struct.pack("<Q", 1 << 63) + b"x.",
        "giant_number": b"\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000 + b".",
        "giant_decimal": b"L" + b"9" * 60_000 + b"L\n.",
        "long_line": b"c" + b"a" * 10_000_000,
        "repeated_copies": repeated,
        "colliding_keys": collisions,
        "modest_keys": modest,
        "too_many_steps": b"]" + b"N0" * steps + b".",  # the reader takes two million
    }
    # Fifty thousand deep is more than a recursion survives; the same reader reads what is in a zip.
    files = pickles | deep(max(50_000, steps // 10))
    files |= {f"{name}_zipped": zipped(data) for name, data in (pickles | deep(50_000)).items() if name != "too_many_steps"}
    files["deepest_calls"] = deep(steps)["deep_calls"]  # of them all the longest to read
    files["deflated"] = zipped(b"N.", [bytes(200 << 20)], zipfile.ZIP_DEFLATED)
    files["lzma"] = zipped(b"N.", [bytes(20 << 20)], zipfile.ZIP_LZMA)
    files["many_entries"] = zipped(b"N.", [b""] * 30_000)
    deep_module = b"cm\nNet\n)\x81}(" + text("_modules") + b"}" + text("a")
    files["deep_modules"] = deep_module * 3_000 + b"N" + b"sub" * 3_000 + b"."
    blocks = {f"layer1.{n}.conv1.weight": torch.zeros(1, 1, 3, 3) for n in range(steps // 700)}
    head = {"conv1.weight": torch.zeros(1, 3, 3, 3), "fc.weight": torch.zeros(5, 1)}
    one = {"layer1.0.conv1.weight": torch.zeros(1, 1, 3, 3)}
    files["many_blocks"] = torch_bytes({**head, **blocks})
    stages = {f"layer{n}.0.conv1.weight": torch.zeros(1, 1, 3, 3) for n in range(1, steps // 5_000)}
    files["many_stages"] = torch_bytes({**head, **stages})
    files["far_block"] = torch_bytes({**head, **one, "layer1.9999.conv1.weight": torch.zeros(1)})
    files["wide"] = torch_bytes({**head, "layer1.0.conv1.weight": torch.zeros(10_000_000, 0, 3, 3)})
    return files


def archives():
    """Zips and other containers that are no checkpoints, or pretend to be."""
    good = zipped(pickle.dumps({"a": 1}, 2))
    files = {
        "empty": b"",
        "words": b"hello, this is no checkpoint at all\n" * 100,
        "html": b"<!DOCTYPE html><html><body>404 not found</body></html>",
        "git_lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "nested_zip": zipped(good, root="inner/").replace(b"data.pkl", b"data.zip"),
        "zip_in_zip_as_storage": zipped(b"N.", [good]),
        "traversal": zipped(b"N.", root="../"),
        "absolute": zipped(b"N.", root="/tmp/"),
        "torchscript": torchscript(),
        "tar": tar(),
        "npz": npz(),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("b/data.pkl", b"cos\nsystem\n.")
    files["two_pickles"] = file.getvalue()
    files["twice"] = files["two_pickles"].replace(b"b/data.pkl", b"a/data.pkl")
    encrypted = bytearray(good)
    for start in (encrypted.index(b"PK\1\2") + 8, encrypted.index(b"PK\3\4") + 6):
        encrypted[start] |= 1
    files["encrypted"] = bytes(encrypted)
    files["big_endian"] = zipped(b"N.").replace(b"little", b"bigger")
    header = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    files["bad.safetensors"] = struct.pack("<Q", len(header)) + header
    files["long.safetensors"] = struct.pack("<Q", 1 << 60) + b"{}"
    files["deep.safetensors"] = struct.pack("<Q", 200_000) + b"[" * 200_000
    return files


def torchscript():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"):
            archive.writestr(name, b"N.")
    return file.getvalue()


def tar():
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return file.getvalue()


def npz():
    import numpy as np

    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def words():
    """Whole checkpoints with words that other programs take for code to call."""
    named = {"_target_": "os.system", "_args_": ["touch marker"]}
    return {
        "target": {"state_dict": weights(), "hyper_parameters": named},
        "instantiator": {"state_dict": weights(), "hyper_parameters": {"_instantiator": "os.system", "lr": 0.1}},
        "class_path": {"state_dict": weights(), "hyper_parameters": {"_class_path": "os.system", "class_path": "builtins.exec"}},
        "nested_target": {"state_dict": OrderedDict(weights()), "config": {"model": {"net": named}}},
    }
