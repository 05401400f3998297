"""Loss terms: the list ``train.losses`` of an option file as one object, which builds, calls and logs all losses alike.

A model passes all that it has (the output, the targets, confidence maps, a critic). The class attribute `inputs` of a
loss names the inputs that the loss takes. So a new loss needs one new file and one line of YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from basicsr.losses import build_loss
from pydantic import Field
from torch import Tensor, nn

from metaf2n_arch.losses.adversarial import AdversarialLoss, as_adversarial
from metaf2n_arch.losses.gradient_shares import GradientShares
from metaf2n_arch.losses.pair import is_mean_over_images
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.options import Strict, parse_block
from metaf2n_arch.utils.registries import PREFIX, cannot_be_built

Critic = Callable[[Tensor], Tensor]
Values = dict[str, Tensor]
Data = Mapping[str, Tensor | None]
# For each active term, the weight of one image's loss in the loss of its batch.
Shares = Mapping[str, float | Tensor]

_ADVERSARIAL_OF_HOST = ('GANLoss', 'MultiScaleGANLoss')


class TermOptions(Strict):
    """Keys of a list entry that belong to the list itself; all others go to the loss's constructor."""

    name: str
    """Name of the term in the log, ``l_g_<name>``; by default its type in lower case without ``loss``."""
    target: Literal['gt', 'gt_usm'] = 'gt'
    """Target to compare the output with: ``gt``, or ``gt_usm``, the target after unsharp masking (Real-ESRGAN)."""
    start_iter: int = Field(0, ge=0)
    """First iteration at which the term counts; before it, the term is not computed."""

    @classmethod
    def parse(cls, entry: Mapping[str, Any], where: str) -> TermOptions:
        if not isinstance(entry, Mapping) or not isinstance(entry.get('type'), str):
            raise OptionError(f'{where} is {entry!r}, expected a mapping with a `type`, for example {{type: L1Loss}}.')
        own = {key: entry[key] for key in cls.model_fields if key in entry}
        return parse_block(cls, {**own, 'name': own.get('name') or _short(entry['type'])}, where)


@dataclass(frozen=True)
class Term:
    options: TermOptions
    loss: Any

    @property
    def adversarial(self) -> bool:
        return isinstance(self.loss, AdversarialLoss)

    @property
    def inputs(self) -> tuple[str, ...]:
        return getattr(self.loss, 'inputs', ('pred', 'target'))

    def shares(self, data: Data) -> list[float] | Tensor | None:
        """Weight of each image's loss in the loss of the batch; None if that is no sum over images."""
        target = data[self.options.target]
        assert target is not None
        if not self.adversarial and 'pred' not in self.inputs:
            return [1.0] + [0.0] * (len(target) - 1)  # does not depend on the images, so it counts once
        if not self.adversarial and 'confidence' in self.inputs:
            return None  # the confidence maps belong to other images than these
        if hasattr(self.loss, 'shares'):
            return self.loss.shares(target, data.get('mask'))
        return [1 / len(target)] * len(target) if is_mean_over_images(self.loss) else None


class LossTerms(nn.Module):
    """A weighted sum of losses, L = Σ_i w_i L_i, built from the YAML list ``train.losses``.

    Args:
        entries: one mapping per loss: ``type``, the loss's own arguments, and the keys of `TermOptions`.
        where: key path of the list, for messages.

    Raises:
        OptionError: for an empty list, an entry without a type, an unknown target, arguments that a loss does not
            accept, or two terms with the same name.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]], where: str = 'train.losses') -> None:
        super().__init__()
        if not entries:
            raise OptionError(f'{where} is empty; name at least one loss, for example [{{type: L1Loss}}].')
        self.terms: list[Term] = []
        self._modules_of_terms = nn.ModuleList()
        for number, entry in enumerate(entries):
            options = TermOptions.parse(entry, f'{where}.{number}')
            if options.name in {term.options.name for term in self.terms}:
                raise OptionError(
                    f'{where}.{number}: another term already has the name {options.name!r}; give one of them a `name`.'
                )
            loss = _built(entry, f'{where}.{number}')
            if entry['type'] in _ADVERSARIAL_OF_HOST:
                loss = as_adversarial(loss)
            self._modules_of_terms.append(loss)
            self.terms.append(Term(options, loss))

    @property
    def needs_critic(self) -> bool:
        """Whether any term is adversarial, so that a discriminator must be trained."""
        return any(term.adversarial for term in self.terms)

    @property
    def needs_usm(self) -> bool:
        """Whether any term compares the output with the sharpened target."""
        return any(term.options.target == 'gt_usm' for term in self.terms)

    def needs(self, name: str) -> bool:
        """Whether any term has the input `name`, for example ``confidence``."""
        return any(name in term.inputs for term in self.terms if not term.adversarial)

    def shares(self, data: Data, current_iter: int | None = None) -> list[Shares] | None:
        """Returns the weights s by which the loss of a batch is a sum over its images, Σ_i Σ_t s_it L_t(image i).

        Args:
            data: as for `generator`, of the whole batch.
            current_iter: iteration, as for `generator`.

        Returns:
            s_i for each image; pass it to `generator` and `discriminator` with that image alone. None if a term
            compares images with each other, as relativistic losses do.
        """
        found = {term.options.name: term.shares(data) for term in self._active(current_iter)}
        if any(shares is None for shares in found.values()):
            return None
        number = len(data['gt'])  # type: ignore[arg-type]  # not None: every loss has a target
        return [{name: shares[i] for name, shares in found.items() if shares is not None} for i in range(number)]

    def generator(
        self,
        pred: Tensor,
        data: Data,
        critic: Critic | None = None,
        current_iter: int | None = None,
        shares: Shares | None = None,
        influence: GradientShares | None = None,
    ) -> tuple[Tensor, Values]:
        """Returns the generator's total loss, and the weighted, detached value ``l_g_<name>`` of each term.

        Args:
            pred: the generator's output, (B, 3, H, W) RGB in [0, 1].
            data: ``gt`` of the same shape; ``gt_usm``, ``lq``, ``confidence``, ``mask`` if a term needs them.
            critic: images -> logits, for the adversarial terms.
            current_iter: iteration, for terms with a `start_iter`; with `None` every term is active.
            shares: a factor for each term: one entry of the list that the method `shares` returns.
            influence: collects each term's gradient with respect to the output, if given.

        Raises:
            OptionError: a term is adversarial, and there is no critic.
        """
        total = pred.new_zeros(())
        values: Values = {}
        for term, share in self._weighed(current_iter, shares):
            value = share * self._evaluate(term, pred, data, critic)
            if influence is not None:
                influence.add(term.options.name, value, pred)
            total = total + value
            values[f'l_g_{term.options.name}'] = value.detach()
        return total, values

    def discriminator(
        self,
        pred: Tensor,
        data: Data,
        critic: Critic,
        current_iter: int | None = None,
        shares: Shares | None = None,
    ) -> tuple[Tensor, Values]:
        """Returns the discriminator's total loss over all adversarial terms, and each term's value ``l_d_<name>``.

        Arguments as in `generator`.
        """
        total = pred.new_zeros(())
        values: Values = {}
        for term, share in self._weighed(current_iter, shares):
            if not term.adversarial:
                continue
            value = share * term.loss.discriminator(critic, pred, data[term.options.target])
            total = total + value
            values[f'l_d_{term.options.name}'] = value.detach()
            for key, statistic in getattr(term.loss, 'stats', {}).items():
                values[f'{key}_{term.options.name}'] = share * statistic
        return total, values

    def _weighed(self, current_iter: int | None, shares: Shares | None) -> list[tuple[Term, float | Tensor]]:
        """The active terms, each with its factor; terms with factor 0 are left out."""
        pairs = [(t, 1.0 if shares is None else shares[t.options.name]) for t in self._active(current_iter)]
        return [(term, share) for term, share in pairs if isinstance(share, Tensor) or share != 0]

    def _active(self, current_iter: int | None) -> list[Term]:
        return [t for t in self.terms if current_iter is None or current_iter >= t.options.start_iter]

    @staticmethod
    def _evaluate(term: Term, pred: Tensor, data: Data, critic: Critic | None) -> Tensor:
        target = data[term.options.target]
        if term.adversarial:
            if critic is None:
                raise OptionError(f'loss {term.options.name!r} needs a discriminator; add `network_d`.')
            return term.loss.generator(critic, pred, target)
        named = {**data, 'pred': pred, 'target': target}
        value = term.loss(*(named.get(name) for name in term.inputs))
        if isinstance(value, tuple):  # the host's PerceptualLoss returns (perceptual, style), either may be None
            parts = [part for part in value if part is not None]
            value = sum(parts[1:], parts[0])
        return value


def _built(entry: Mapping[str, Any], where: str) -> nn.Module:
    """Builds the loss of one entry; any error because of its arguments becomes one line that names the place."""
    arguments = {k: v for k, v in entry.items() if k not in TermOptions.model_fields}
    try:
        return build_loss(arguments)
    except DataError:
        raise
    except OptionError as error:
        raise OptionError(f'{where}: {error}') from None
    except Exception as error:  # a loss of any package may raise any exception for wrong arguments
        kind = arguments.pop('type')
        raise OptionError(f'{where}: {cannot_be_built(kind, arguments, error)}') from None


def _short(loss_type: str) -> str:
    lower = loss_type.removeprefix(PREFIX).lower()
    return lower.removesuffix('loss') or lower
