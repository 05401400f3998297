"""A generator whose convolutions at the size of the photo run in ncnn, which is faster on CPUs than torch.

ncnn (https://github.com/Tencent/ncnn) is an optional package. It convolves by Winograd's algorithm, in float32. It
reads a list of layers, in text, and their weights. Both are written here from the network as torch traces it, so that
each photo can have weights of its own. From the first enlargement on everything stays in torch: it takes little of the
time, and ncnn would need several times the memory.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from metaf2n_arch.images.arrays import pad_to_multiple
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.extras import install_command
from metaf2n_arch.utils.modules import shell
from metaf2n_arch.weights.loading import AnySize

LEAST_SHARE = 0.5
"""Share of a generator's weights that ncnn must be able to take: otherwise nothing is gained."""

LARGE = 16_000_000
"""Bytes of weights from which on ncnn's memory is given back before torch computes the rest, and taken again for the
next tile. A large network computes so long that this costs little; a small one would lose a tenth, and needs little.
"""

_MAGIC = 7767517  # first line of a list of layers
_RAW_FLOAT32 = struct.pack('<I', 0)  # mark in front of weights that are stored as they are
_NO_MEMORY = -100


class NcnnNetwork:
    """A generator with certain weights, the first part of it in ncnn. Any number of threads may call it at once.

    Args:
        net: the generator, (1, 3, h, w) -> (1, 3, s·h, s·w), on the CPU.
        params: its parameters; its own are taken where a name is missing.

    Raises:
        OptionError: ncnn is too old, or can take too little of `net`.
    """

    def __init__(self, net: nn.Module, params: Mapping[str, Tensor]) -> None:
        import ncnn

        if not hasattr(ncnn.Net, 'load_model_mem'):
            raise OptionError(f'backend ncnn: this ncnn is too old; {install_command("ncnn")}, or take backend torch.')
        self._any_size = net if isinstance(net, AnySize) else None
        tensors = {**dict(net.named_parameters()), **params}
        if self._any_size is not None:
            net, tensors = self._any_size.net, {name.removeprefix('net.'): value for name, value in tensors.items()}
        part = FirstPart(net, tensors)
        self._rest, self._passed = part.rest, part.passed
        self._ncnn, self._net = ncnn, ncnn.Net()
        options = self._net.opt
        options.num_threads = torch.get_num_threads()
        # Half precision, which is on by default, would change pixels by more than one grey level.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        self._memory = ncnn.PoolAllocator(), ncnn.PoolAllocator()
        options.blob_allocator, options.workspace_allocator = self._memory
        self._weights = part.weights  # ncnn reads them where they are
        if self._net.load_param_mem(part.layers):
            raise OptionError(f'ncnn cannot read the translated {type(net).__name__}; take backend torch.')
        self._net.load_model_mem(self._weights)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Runs the network on (1, 3, h, w) float32; returns (1, 3, s·h, s·w) float32.

        Raises:
            MemoryError: the memory is not enough.
        """
        height, width = x.shape[-2:]
        if self._any_size is not None:
            x = pad_to_multiple(x, self._any_size.multiple)
        output: Tensor = self._rest(*self._first_part(x))
        if self._any_size is not None:
            output = output[..., : height * self._any_size.scale, : width * self._any_size.scale]
        return output

    def _first_part(self, x: Tensor) -> list[Tensor]:
        planes, found = np.ascontiguousarray(x[0].numpy()), []
        with self._net.create_extractor() as extractor:
            extractor.input(_INPUT, self._ncnn.Mat(planes))
            for name in self._passed:
                failed, output = extractor.extract(name)
                if failed == _NO_MEMORY:
                    raise MemoryError('ncnn: not enough memory')
                if failed:
                    raise RuntimeError(f'ncnn ends with {failed} on {x.shape[-1]} x {x.shape[-2]} pixels.')
                found.append(torch.from_numpy(np.array(output))[None].contiguous(memory_format=torch.channels_last))
        del output
        if len(self._weights) > LARGE:
            for pool in self._memory:
                pool.clear()
        return found


class FirstPart:
    """What ncnn takes of a network: from its input on every operation that has a layer in ncnn.

    Args:
        net: a network of one input and one output.
        tensors: its parameters by name.

    Attributes:
        layers, weights: this part in ncnn's formats.
        passed: names of its outputs.
        rest: the other operations, from these outputs to the output of `net`.

    Raises:
        OptionError: torch cannot trace `net`, or this part has less than `LEAST_SHARE` of its weights.
    """

    def __init__(self, net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        try:
            graph = fx.symbolic_trace(net).graph
        except Exception as error:  # tracing raises whatever the network raises for a symbol in place of a tensor
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise OptionError(
                f'backend ncnn: {type(net).__name__} cannot be traced ({reason}); take backend torch.'
            ) from None
        modules, known = dict(net.named_modules()), dict[fx.Node, _Layer | None]()
        for node in graph.nodes:
            if node.op == 'placeholder':
                known[node] = None
            elif all(source in known for source in node.all_input_nodes):
                layer = _translated(node, modules)
                if layer is not None:
                    known[node] = layer
        ends = [node for node in known if any(user not in known for user in node.users)]
        self.rest = _rest(net, graph, known, ends, tensors)
        writer = _Writer(known, ends, tensors)
        self.layers, self.weights, self.passed = writer.text(), b''.join(writer.weights), writer.passed
        taken = sum(tensors[name].numel() for layer in known.values() if layer is not None for name in layer.tensors)
        share = taken / sum(tensor.numel() for tensor in tensors.values())
        if share < LEAST_SHARE:
            raise OptionError(
                f'backend ncnn can take {100 * share:.0f} % of the weights of {type(net).__name__} only; take backend'
                ' torch.'
            )


def _rest(
    net: nn.Module,
    graph: fx.Graph,
    known: Mapping[fx.Node, Any],
    ends: Sequence[fx.Node],
    tensors: Mapping[str, Tensor],
) -> nn.Module:
    """The nodes that are not `known` as a module whose inputs are the outputs of `ends`."""
    rest, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in ends:
        copies[node] = rest.placeholder(node.name)
    for node in graph.nodes:
        if node not in known:
            copies[node] = rest.node_copy(node, copies.__getitem__)
    module = shell(fx.GraphModule(net, rest))
    module.load_state_dict({name: tensors.get(name, value) for name, value in module.state_dict().items()}, assign=True)
    return module


class _Layer:
    """A layer of ncnn: its type, the nodes that it reads, its numbered settings, and the names of its tensors.

    A type that stores how its weights are coded has `marked` set.
    """

    def __init__(
        self,
        kind: str,
        inputs: Sequence[fx.Node],
        settings: Mapping[int, float],
        tensors: Sequence[str] = (),
        marked: bool = False,
    ) -> None:
        self.kind, self.inputs, self.settings, self.tensors, self.marked = kind, inputs, settings, tensors, marked


class _Writer:
    """Writes layers in ncnn's formats. There each output may be read once only, so that copies have layers, too."""

    def __init__(
        self, layers: Mapping[fx.Node, _Layer | None], ends: Sequence[fx.Node], tensors: Mapping[str, Tensor]
    ) -> None:
        self.weights: list[bytes] = []
        self._lines: list[str] = []
        self._blobs = 0
        readers = {node: int(node in ends) for node in layers}
        for layer in layers.values():
            for source in layer.inputs if layer is not None else ():
                readers[source] += 1
        unread: dict[fx.Node, list[str]] = {}
        for node, layer in layers.items():
            name = _INPUT if layer is None else f'{node.name}:'
            if layer is None:
                self._line('Input', name, [], [name])
            else:
                settings = ' '.join(f'{key}={value}' for key, value in layer.settings.items())
                self._line(layer.kind, name, [unread[source].pop() for source in layer.inputs], [name], settings)
                self.weights += [_RAW_FLOAT32] if layer.marked else []
                self.weights += [_bytes_of(tensors[tensor]) for tensor in layer.tensors]
            unread[node] = [name]
            if readers[node] > 1:
                unread[node] = [f'{name}{number}' for number in range(readers[node])]
                self._line('Split', f'{name}copies', [name], unread[node])
        self.passed = [unread[node].pop() for node in ends]

    def text(self) -> str:
        """The list of layers."""
        return '\n'.join([str(_MAGIC), f'{len(self._lines)} {self._blobs}', *self._lines, ''])

    def _line(self, kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], settings: str = '') -> None:
        self._lines.append(f'{kind} {name} {len(inputs)} {len(outputs)} {" ".join([*inputs, *outputs])} {settings}')
        self._blobs += len(outputs)


_INPUT = 'photo:'


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().float().contiguous().numpy().astype('<f4').tobytes()


def _translated(node: fx.Node, modules: Mapping[str, nn.Module]) -> _Layer | None:
    """The layer of a node; None if it is not translated."""
    if node.op == 'call_module':
        module, plain_call = modules[str(node.target)], len(node.args) == 1 and not node.kwargs
        return _of_module(str(node.target), module, node.args[0]) if plain_call and _is_itself(module) else None
    if node.op != 'call_function' or node.target not in _FUNCTIONS:
        return None
    try:
        return _FUNCTIONS[node.target](*node.args, **node.kwargs)
    except TypeError:  # an argument that is not translated
        return None


def _of_module(name: str, module: nn.Module, x: Any) -> _Layer | None:
    match module:
        case nn.Conv2d(
            groups=1, padding_mode='zeros', stride=(1, 1), dilation=(1, 1), padding=(int(below), int(right))
        ):
            (tall, wide), bias = module.kernel_size, module.bias is not None
            sizes = {0: module.out_channels, 1: wide, 11: tall, 4: right, 14: below}
            settings = {**sizes, 5: int(bias), 6: module.weight.numel()}
            tensors = [f'{name}.weight', f'{name}.bias'] if bias else [f'{name}.weight']
            return _Layer('Convolution', [x], settings, tensors, marked=True)
        case nn.PReLU():
            return _Layer('PReLU', [x], {0: module.num_parameters}, [f'{name}.weight'])
        case nn.LeakyReLU():
            return _leaky(x, module.negative_slope)
        case nn.ReLU():
            return _leaky(x, 0.0)
    return None


def _is_itself(module: nn.Module) -> bool:
    """Whether a module does what its type of torch does: no subclass, no parametrisation, no hook."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module) in (nn.Conv2d, nn.PReLU, nn.LeakyReLU, nn.ReLU) and not hooks


def _add(a: Any, b: Any) -> _Layer | None:
    return _Layer('BinaryOp', [a, b], {0: 0}) if isinstance(a, fx.Node) and isinstance(b, fx.Node) else None


def _multiply(a: Any, b: Any) -> _Layer | None:
    x, number = (a, b) if isinstance(a, fx.Node) else (b, a)
    return _Layer('BinaryOp', [x], {0: 2, 1: 1, 2: float(number)}) if isinstance(number, (int, float)) else None


def _concatenate(tensors: Any, dim: int = 0) -> _Layer | None:
    return _Layer('Concat', list(tensors), {0: 0}) if dim == 1 else None


def _leaky(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> _Layer:
    return _Layer('ReLU', [x], {0: float(negative_slope)})


def _unshuffle(x: Any, downscale_factor: int) -> _Layer:
    return _Layer('Reorg', [x], {0: downscale_factor})


_FUNCTIONS: dict[Any, Callable[..., _Layer | None]] = {
    operator.add: _add,
    operator.iadd: _add,
    operator.mul: _multiply,
    torch.cat: _concatenate,
    F.leaky_relu: _leaky,
    F.pixel_unshuffle: _unshuffle,
}
