"""The C core as a shared library, seen through ctypes. The structures of tp.h, mirrored once."""

import ctypes as c
import os
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
from oracle import spec as names

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCE_DIR = ROOT / "usermod_tinyprop"
BUILD_DIR = ROOT / "build" / "host"

FLAGS = (
    "-std=c99 -O2 -Wall -Wextra -pedantic -Werror -Wdouble-promotion -Wundef"
    " -Wmissing-prototypes -Wfloat-conversion -ffp-contract=off -fno-math-errno -fPIC"
).split()

# Compiler and extra flags; -O3 is what the firmware takes. Without __SSE2__ the core thinks that
# there is no instruction for the square root and computes it.
FLAVORS = {
    "gcc": ("gcc", []),
    "clang": ("clang", ["-O3"]),
    "generic": ("gcc", ["-O3", "-DTP_GENERIC_ONLY=1", "-U__SSE2__"]),
    "dense": ("gcc", ["-DTP_MAPS=0"]),
    "cores": ("gcc", ["-DTP_CORES=1", "-DTP_LEAST=1u"]),
    "asan": ("gcc", ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
}

POISON = 0xA5


def sources():
    return sorted(SOURCE_DIR.glob("core/*.c")) + sorted(SOURCE_DIR.glob("kernels/*.c"))


def headers():
    return sorted(SOURCE_DIR.glob("core/*.h")) + sorted(SOURCE_DIR.glob("kernels/*.h"))


def compile_with(flavor, output, arguments):
    """Run the compiler of a flavor; the output appears whole or not at all."""
    compiler, extra = FLAVORS[flavor]
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.{os.getpid()}")
    command = [compiler, *FLAGS, *extra, "-o", partial, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
    partial.replace(output)
    return output


def build(flavor):
    """The library of a flavor, built anew where a source is newer."""
    library = BUILD_DIR / f"libtinyprop-{flavor}.so"
    units = [*sources(), HERE / "apply.c", HERE / "core1.c"]
    inputs = [*units, *headers(), Path(__file__)]
    if library.exists() and library.stat().st_mtime > max(p.stat().st_mtime for p in inputs):
        return library
    return compile_with(flavor, library, ["-shared", *units])


# --- tp.h ---

OK, SHAPE, RANGE, DTYPE, NONFINITE, BLOCK, SIZE, FORMAT = range(0, -8, -1)
MAX_UNITS, MAX_LAYERS, BACKOFF_MAX, BLOCK_ALIGN = 65535, 32, 31, 8
FROM_INPUT = 255
MAGIC = 0x32425054
FILE_HEAD = 20
VALUES = {"f32": np.dtype(np.float32), "i8": np.dtype(np.int8), "i16": np.dtype(np.int16)}
DTYPES = {"float32": "f", "int32": "i", "int16": "h", "int8": "b", "uint8": "B"}

u8, u16, u32, u64, i32, f32 = c.c_uint8, c.c_uint16, c.c_uint32, c.c_uint64, c.c_int32, c.c_float
floats, words = c.POINTER(f32), c.POINTER(u32)


def _fields(*groups):
    """(type, "name name ...") pairs as ctypes wants them."""
    return [(name, kind) for kind, text in groups for name in text.split()]


class Fault(c.Structure):
    _fields_ = _fields((c.c_char_p, "what"), (i32, "layer"), (f32, "got lo hi"))


class Opt(c.Structure):
    _fields_ = _fields(
        (u8, "kind rows"), (u16, "pad"), (f32, "lr momentum weight_decay beta1 beta2 eps")
    )


class Policy(c.Structure):
    _fields_ = _fields(
        (u8, "kind beta_mode dense_output backoff"),
        (f32, "ratio s_min s_max zeta d_min d_max threshold ymax_decay"),
        (u32, "k warmup max_skips"),
        (u8, "rescale"),
        (u8 * 3, "pad"),
    )


class LayerSpec(c.Structure):
    _fields_ = _fields(
        (u8, "kind activation init trainable"),
        (u32, "units"),
        (f32, "slope"),
        (u8, "kernel_h kernel_w stride_h stride_w same select source other"),
        (u16, "rows"),
        (u8, "external recompute"),
    )


class Spec(c.Structure):
    _fields_ = _fields(
        (u32, "h w c n_layers"),
        (c.POINTER(LayerSpec), "layers"),
        (u8, "loss keep zero_skip"),
        (u32, "batch seed n_scale"),
        (floats, "scale offset"),
        (Opt, "opt"),
        (Policy, "policy"),
        (u8, "dtype"),
    )


class Plan(c.Structure):
    _fields_ = _fields(
        (u32, "total persist header parameters optimizer gradients activations scratch external")
    )


class Layer(c.Structure):
    _fields_ = _fields(
        (u8, "kind activation init trainable"),
        (u8, "source other kernel_h kernel_w stride_h stride_w same select flags again"),
        (u16, "rows h w c pad2"),
        (f32, "slope"),
        (u32, "off_w off_m off_v off_g off_act off_d"),
        (f32, "ymax ratio"),
        (u32, "k"),
        (u64, "k_sum macs"),
    )


class Model(c.Structure):
    _fields_ = _fields(
        (u32, "magic block_bytes persist_bytes"),
        (u8, "n_layers loss keep zero_skip"),
        (u16, "batch n_scale h w c index"),
        (u32, "off_input off_scratch dropout_key seed"),
        (u32 * 4, "rng"),
        (Opt, "opt"),
        (f32, "beta1_t beta2_t"),
        (Policy, "policy"),
        (u16, "batch_seen batch_trained"),
        (u32, "skips_in_row"),
        (u8, "dtype pad"),
        (u16, "listed"),
        (u64, "seen trained skipped waited forward_macs policy_macs"),
    )


class Range(c.Structure):
    _fields_ = _fields((c.c_int8, "e_w e_a"), (c.c_int16, "e_d"), (u32, "peak"))


class View(c.Structure):
    _fields_ = _fields((c.c_void_p, "data"), (u32, "count"), (u8, "dtype"))


class Target(c.Structure):
    _fields_ = _fields((i32, "index"), (View, "values"))


class Macs(c.Structure):
    _fields_ = _fields((u64, "forward backward"))


STRUCTURES = {
    "tp_fault_t": Fault,
    "tp_opt_t": Opt,
    "tp_policy_t": Policy,
    "tp_layer_spec_t": LayerSpec,
    "tp_spec_t": Spec,
    "tp_plan_t": Plan,
    "tp_layer_t": Layer,
    "tp_model_t": Model,
    "tp_range_t": Range,
    "tp_view_t": View,
    "tp_target_t": Target,
    "tp_macs_t": Macs,
}

_P, _SIZE, _INT, _BOOL = c.c_void_p, c.c_size_t, c.c_int, c.c_bool
_SPEC, _FAULT, _VIEW, _TARGET = map(c.POINTER, (Spec, Fault, View, Target))
_BYTES = c.POINTER(u8)

# Result and arguments of every function of tp.h, and of apply.c.
PROTOTYPES = {
    "tp_plan": (_INT, _SPEC, c.POINTER(Plan), _FAULT),
    "tp_model_init": (_INT, _P, _SIZE, _SPEC, _FAULT),
    "tp_model_check": (_INT, _P, _SIZE),
    "tp_model_get": (_P, _P, _SIZE),
    "tp_model_layer": (c.POINTER(Layer), _P, u32),
    "tp_layer_weights": (_P, _P, u32),
    "tp_layer_bias": (_P, _P, u32),
    "tp_layer_output": (_P, _P, u32),
    "tp_layer_delta": (_P, _P, u32),
    "tp_model_ranges": (c.POINTER(Range), _P),
    "tp_get_weights": (_INT, _P, u32, _P, _P),
    "tp_set_weights": (_INT, _P, u32, _P, _P),
    "tp_layer_fan_in": (u32, _P, u32),
    "tp_model_inputs": (u32, _P),
    "tp_model_external": (_INT, _P, _P, _SIZE, _FAULT),
    "tp_model_take_external": (None, _P),
    "tp_layer_external": (_P, _P, u32),
    "tp_model_outputs": (u32, _P),
    "tp_model_reset": (None, _P, u32),
    "tp_set_optimizer": (_INT, _P, c.POINTER(Opt), _FAULT),
    "tp_set_policy": (_INT, _P, c.POINTER(Policy), _FAULT),
    "tp_predict": (_INT, _P, _VIEW, _P, _FAULT),
    "tp_evaluate": (_INT, _P, _VIEW, _TARGET, floats, words, _FAULT),
    "tp_train_step": (_INT, _P, _VIEW, _TARGET, floats, _FAULT),
    "tp_count_waited": (None, _P),
    "tp_flush": (None, _P),
    "tp_epoch_end": (None, _P),
    "tp_reset_counters": (None, _P),
    "tp_dense_macs": (Macs, _P),
    "tp_backward_macs": (u64, _P),
    "tp_backoff_waits": (_BOOL, _BYTES),
    "tp_backoff_note": (None, _BYTES, _BOOL, u8),
    "tp_file_head": (None, _P, _BYTES),
    "tp_file_head_check": (_INT, _P, _SIZE, words, words),
    "tp_file_block_bytes": (u32, _P, _SIZE),
    "tp_crc32": (u32, u32, _P, _SIZE),
    "tp_permute": (u32, u32, u32, u32),
    "tp_rng_seed": (None, words, u32),
    "tp_rng_next": (u32, words),
    "tp_expf": (f32, f32),
    "tp_logf": (f32, f32),
    "tp_sqrtf": (f32, f32),
    "tp_tanhf": (f32, f32),
    "tp_sigmoidf": (f32, f32),
    "tp_isfinite": (_BOOL, f32),
    "tp_convert": (_INT, _P, _VIEW, floats, floats, u32, words),
    "tp_activate": (None, _P, _SIZE, u8, f32),
    "tp_activate_backward": (None, _P, _P, _SIZE, u8, f32),
    "tp_softmax": (f32, _P, _SIZE, floats),
    "tp_topk": (u32, _P, _SIZE, u32),
    "tp_topk_int": (u32, _P, _SIZE, u32),
    "tp_ki_count_large": (_SIZE, _P, _SIZE, _BOOL),
    "tp_ki_sum_abs": (u32, _P, _SIZE),
    "tp_ki_relu_d_i8": (u32, _P, _P, _SIZE),
    "tp_ki_relu_d_i16": (u32, _P, _P, _SIZE),
    "tp_ki_narrow": (None, _P, _SIZE, u32),
    "apply_f32": (None, _P, _P, _P, _SIZE),
}


def load(flavor):
    core = c.CDLL(str(build(flavor)))
    for name, (result, *arguments) in PROTOTYPES.items():
        function = getattr(core, name)
        function.restype = result
        function.argtypes = arguments
    return core


def apply(core, name, x):
    """The elementary function `name` of the core for every element of x."""
    y = np.empty_like(x)
    core.apply_f32(c.cast(getattr(core, name), _P), y.ctypes.data, x.ctypes.data, x.size)
    return y


# --- From the specification of the oracle to that of the core ---


def c_optimizer(opt):
    return Opt(
        kind=names.OPTIMIZERS.index(opt.kind),
        rows=names.ROWS.index(opt.rows),
        lr=opt.lr,
        momentum=opt.momentum,
        weight_decay=opt.weight_decay,
        beta1=opt.beta1,
        beta2=opt.beta2,
        eps=opt.eps,
    )


def c_policy(policy):
    values = {f.name: getattr(policy, f.name) for f in fields(policy)}
    return Policy(**{**values, "kind": names.POLICIES.index(policy.kind)})


def c_layer(layer, external=False, recompute=False):
    def source(number):
        return 0 if number is None else number or FROM_INPUT

    windows = layer.kind not in ("dense", "add", "dropout")
    stride = layer.stride if windows else (0, 0)
    return LayerSpec(
        kind=1 + names.KINDS.index(layer.kind),
        activation=names.ACTIVATIONS.index(layer.activation),
        init=names.INITS.index(layer.init),
        trainable=names.TRAINABLE.index(layer.trainable),
        units=layer.units or 1,
        slope=layer.slope,
        kernel_h=layer.kernel[0],
        kernel_w=layer.kernel[1],
        stride_h=stride[0],
        stride_w=stride[1],
        same=layer.same,
        select=layer.select == "channels",
        source=source(layer.source),
        other=source(layer.other),
        rows=layer.rows,
        external=external,
        recompute=recompute,
    )


def c_spec(spec):
    return Spec(
        h=spec.shape[0],
        w=spec.shape[1],
        c=spec.shape[2],
        n_layers=len(spec.layers),
        layers=(LayerSpec * len(spec.layers))(
            *(
                c_layer(y, i in spec.external, i in spec.recompute)
                for i, y in enumerate(spec.layers)
            )
        ),
        loss=names.LOSSES.index(spec.loss),
        keep=spec.keep,
        zero_skip=spec.zero_skip,
        batch=spec.batch,
        seed=spec.seed,
        n_scale=len(spec.scale),
        scale=(f32 * len(spec.scale))(*spec.scale),
        offset=(f32 * len(spec.offset))(*spec.offset),
        opt=c_optimizer(spec.opt),
        policy=c_policy(spec.policy),
        dtype=ord(VALUES[spec.dtype].char),
    )


def view(array):
    """A tp_view_t; the array must outlive it."""
    return View(array.ctypes.data, array.size, ord(DTYPES[array.dtype.name]))


def target(y):
    """A tp_target_t of a class index or an array, which must outlive it."""
    return Target(index=y) if np.ndim(y) == 0 else Target(values=view(y))


class CoreError(Exception):
    def __init__(self, code, fault):
        what = fault.what.decode() if fault.what else ""
        super().__init__(f"{code}: {what}")
        self.code, self.what, self.layer = code, what, fault.layer
        self.got, self.lo, self.hi = fault.got, fault.lo, fault.hi


def checked(function, *arguments):
    """Call a function that takes a fault last; CoreError where it fails."""
    fault = Fault()
    answer = function(*arguments, c.byref(fault))
    if answer < 0:
        raise CoreError(answer, fault)
    return answer


def plan(core, spec):
    result = Plan()
    checked(core.tp_plan, c_spec(spec) if not isinstance(spec, Spec) else spec, c.byref(result))
    return result


def aligned_bytes(size, fill=0):
    """Exactly size bytes, so that a sanitizer sees a step past the end."""
    block = np.full(size, fill, np.uint8)
    assert block.ctypes.data % BLOCK_ALIGN == 0
    return block


class CoreModel:
    """A model in its block. Arrays are views of the block, so they show its present state."""

    def __init__(self, core, spec, block=None):
        self.core = core
        self.plan = plan(core, spec)
        self.block = aligned_bytes(self.plan.total, POISON) if block is None else block
        checked(core.tp_model_init, self.address, len(self.block), c_spec(spec))

    @classmethod
    def adopt(cls, core, block):
        """A model that block holds already."""
        model = cls.__new__(cls)
        model.core, model.block = core, block
        return model

    @property
    def address(self):
        return self.block.ctypes.data

    @property
    def head(self):
        return Model.from_buffer(self.block)

    def layer(self, i):
        return Layer.from_buffer(self.block, c.sizeof(Model) + i * c.sizeof(Layer))

    @property
    def layers(self):
        return [self.layer(i) for i in range(self.head.n_layers)]

    def persistent(self):
        return self.block[: self.head.persist_bytes]

    def array(self, offset, shape, dtype=np.float32):
        return np.ndarray(shape, dtype, self.block, offset)

    def use_external(self, parameters):
        checked(
            self.core.tp_model_external, self.address, parameters.ctypes.data, parameters.nbytes
        )

    @property
    def is_integer(self):
        return self.head.dtype != 0

    @property
    def values(self):
        """Of weights and maps."""
        return np.dtype(chr(self.head.dtype)) if self.is_integer else np.dtype(np.float32)

    @property
    def wide(self):
        """Of biases and d."""
        return np.dtype(np.int32 if self.is_integer else np.float32)

    @property
    def ranges(self):
        """Of integer models, views as all else here."""
        first = self.core.tp_model_ranges(self.address)
        at = c.addressof(first.contents) - self.address
        n = self.head.n_layers + 1
        return [Range.from_buffer(self.block, at + i * c.sizeof(Range)) for i in range(n)]

    def get_weights(self, i):
        layer = self.layer(i)
        w = np.empty((layer.c, self.fan_in(i)), np.float32)
        b = np.empty(layer.c, np.float32)
        answer = self.core.tp_get_weights(self.address, i, w.ctypes.data, b.ctypes.data)
        return answer, w, b

    def set_weights(self, i, w, b):
        return self.core.tp_set_weights(self.address, i, w.ctypes.data, b.ctypes.data)

    def fan_in(self, i):
        return self.core.tp_layer_fan_in(self.address, i)

    def weights_and_bias(self, i, offset):
        """The two arrays of parameter shape at off_w, off_m, off_v or off_g of a layer; all but
        the first hold only the filters that train."""
        layer = self.layer(i)
        shape = (layer.c if offset == "off_w" else layer.rows, self.fan_in(i))
        start = getattr(layer, offset)
        slots = np.int16 if self.is_integer else self.values  # velocities
        w = self.array(start, shape, self.values if offset == "off_w" else slots)
        return w, self.array(start + (w.nbytes + 3) // 4 * 4, layer.c, self.wide)

    def row_flags(self, i):
        layer = self.layer(i)
        start = layer.off_g + 4 * (layer.rows * self.fan_in(i) + layer.c)
        return self.array(start, layer.rows, np.uint8)

    def size(self, i):
        layer = self.layers[i]
        return layer.h * layer.w * layer.c

    def output(self, i=-1):
        """After predict; that of the last row is float32 in any model."""
        is_last = i in (-1, self.head.n_layers - 1)
        kind = np.float32 if is_last else self.values
        return self.array(self.layers[i].off_act, self.size(i), kind)

    def delta(self, i=-1):
        return self.array(self.layers[i].off_d, self.size(i), self.wide)

    def predict(self, x):
        out = np.empty(self.size(-1), np.float32)
        checked(self.core.tp_predict, self.address, c.byref(view(x)), out.ctypes.data)
        return out

    def _with_loss(self, function, x, y, *results):
        loss = f32()
        answer = checked(
            function, self.address, c.byref(view(x)), c.byref(target(y)), c.byref(loss), *results
        )
        return answer, np.float32(loss.value)

    def evaluate(self, x, y):
        best = u32()
        _, loss = self._with_loss(self.core.tp_evaluate, x, y, c.byref(best))
        return loss, best.value

    def train_step(self, x, y):
        answer, loss = self._with_loss(self.core.tp_train_step, x, y)
        return bool(answer), loss

    def set_optimizer(self, opt):
        checked(self.core.tp_set_optimizer, self.address, c.byref(c_optimizer(opt)))

    def set_policy(self, policy):
        checked(self.core.tp_set_policy, self.address, c.byref(c_policy(policy)))

    def reset(self, seed):
        self.core.tp_model_reset(self.address, seed)

    def flush(self):
        self.core.tp_flush(self.address)

    def epoch_end(self):
        self.core.tp_epoch_end(self.address)

    def count_waited(self):
        self.core.tp_count_waited(self.address)

    def reset_counters(self):
        self.core.tp_reset_counters(self.address)

    def check(self):
        return self.core.tp_model_check(self.address, len(self.block))
