"""Published values, to compare with ours. They are texts with exactly the digits of the publication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PAPER = 'MetaF2N (Yin et al., ICCV 2023)'
REPORT_SSL = 'MetaF2N + SSL, 10k iterations (student report)'
REPORT_OLD = 'MetaF2N, faces not aligned (the same report)'
GAN_BASELINE = 'ESRGAN (GAN study, baseline)'
GAN_OURS = 'LPIPS + RaGP + FFT (GAN study)'


@dataclass(frozen=True)
class Family:
    """Data sets that are reported in one table.

    Attributes:
        title: title of the table.
        metrics: its columns, in the order of the publication.
        rows: data set -> model -> published values, in the order of `metrics`; an empty text if there is none.
        note: remark on the comparison with our values.
        sizes: data set -> published number of images. A set of the same name and number is taken for the same set.
    """

    title: str
    metrics: tuple[str, ...]
    rows: dict[str, dict[str, tuple[str, ...]]]
    note: str = ''
    sizes: Mapping[str, int] = field(default_factory=dict)


def _spectrum(value: str) -> tuple[str, ...]:
    """A row of `_BENCHMARKS` that has only the spectrum discrepancy."""
    return ('',) * 6 + (value,)


_METAF2N = Family(
    'Adaptation from faces, ×4',
    ('psnr', 'lpips', 'fid', 'niqe'),
    {
        'CelebA_iid': {
            PAPER: ('25.76', '0.289', '45.22', '4.10'),
            REPORT_OLD: ('17.26', '0.4616', '130.54', '5.56'),
            REPORT_SSL: ('25.72', '0.310', '46.5', '4.17'),
        },
        'CelebA_ood': {
            PAPER: ('25.00', '0.297', '46.23', '4.47'),
            REPORT_OLD: ('17.38', '0.4648', '116.99', '5.61'),
            REPORT_SSL: ('24.88', '0.313', '44.47', '4.44'),
        },
        'FFHQ_iid': {
            PAPER: ('26.30', '0.279', '44.51', '3.94'),
            REPORT_OLD: ('16.93', '0.4589', '204.77', '5.32'),
            REPORT_SSL: ('26.13', '0.301', '46.10', '3.94'),
        },
        'FFHQ_ood': {
            PAPER: ('25.65', '0.283', '44.30', '4.36'),
            REPORT_OLD: ('17.35', '0.4536', '111.86', '5.42'),
            REPORT_SSL: ('25.34', '0.303', '45.40', '4.21'),
        },
        'FFHQ_Multi_iid': {
            REPORT_OLD: ('16.79', '0.4570', '134.55', '5.23'),
            REPORT_SSL: ('25.61', '0.308', '43.85', '3.66'),
        },
        'FFHQ_Multi_ood': {
            REPORT_OLD: ('16.85', '0.4491', '127.59', '5.23'),
            REPORT_SSL: ('25.11', '0.312', '43.31', '3.65'),
        },
        'RealFaces200': {},
    },
    sizes={'RealFaces200': 200},
)

_BENCHMARKS = Family(
    'Benchmarks, ×4',
    ('niqe', 'fid', 'lpips', 'psnr', 'ssim', 'brisque', 'spectrum'),
    {
        'Set5': {
            'RaGP (GAN study)': _spectrum('0.00034'),
            'RaGP + FFT loss (GAN study)': _spectrum('0.00017'),
            'RaGP + spectral loss (GAN study)': _spectrum('0.00033'),
        },
        'Set14': {
            GAN_BASELINE: ('5.30', '153.30', '0.1541', '23.86', '0.64', '52.13', ''),
            GAN_OURS: ('4.62', '132.27', '0.1149', '25.33', '0.69', '48.08', ''),
            'RaGP (GAN study)': _spectrum('0.00066'),
            'RaGP + FFT loss (GAN study)': _spectrum('0.00031'),
            'RaGP + spectral loss (GAN study)': _spectrum('0.00070'),
        },
        'BSD100': {
            GAN_BASELINE: ('4.79', '88.31', '0.1945', '22.65', '0.59', '55.29', ''),
            GAN_OURS: ('4.50', '78.16', '0.1514', '23.66', '0.64', '48.38', ''),
            'RaGP (GAN study)': _spectrum('0.00581'),
            'RaGP + FFT loss (GAN study)': _spectrum('0.00253'),
            'RaGP + spectral loss (GAN study)': _spectrum('0.00590'),
        },
        'Urban100': {
            GAN_BASELINE: ('5.23', '45.71', '0.1746', '20.72', '0.62', '59.51', ''),
            GAN_OURS: ('4.80', '30.94', '0.1294', '22.10', '0.68', '59.90', ''),
            'RaGP (GAN study)': _spectrum('0.00457'),
            'RaGP + FFT loss (GAN study)': _spectrum('0.00327'),
            'RaGP + spectral loss (GAN study)': _spectrum('0.00465'),
        },
    },
    'The study states neither border crop nor colour space of PSNR and SSIM. Its spectrum discrepancies were computed'
    ' by another program: compare them only with each other.',
    {'Set5': 5, 'Set14': 14, 'BSD100': 100, 'Urban100': 100},
)

_DIV2K = Family(
    'DIV2K validation, ×4',
    ('niqe', 'fid', 'lpips', 'psnr', 'ssim', 'brisque'),
    {
        'DIV2K': {
            'RaGAN, VGG loss': ('6.16', '28.87', '0.2590', '24.00', '0.63', '66.17'),
            'RaGAN, LPIPS loss': ('4.01', '20.81', '0.1488', '24.74', '0.70', '27.58'),
            'RaGAN, DISTS loss': ('2.66', '22.11', '0.1576', '24.39', '0.71', '33.57'),
            'RaHinge': ('3.08', '23.37', '0.1537', '23.40', '0.68', '36.65'),
            'RaLS': ('3.71', '21.92', '0.1519', '24.78', '0.70', '22.78'),
            'RcGAN': ('3.59', '22.37', '0.1565', '24.20', '0.69', '28.69'),
            'RcHinge': ('3.40', '20.61', '0.1486', '24.43', '0.70', '30.96'),
            'RcLS': ('3.49', '22.51', '0.1524', '24.74', '0.70', '29.52'),
            'RaGP': ('3.27', '19.80', '0.1427', '24.21', '0.68', '45.21'),
            'RaGP + 0.3 FFT loss': ('3.20', '17.54', '0.1410', '25.67', '0.74', '37.99'),
            'RaGP + 0.3 spectral loss': ('3.44', '20.38', '0.1457', '24.47', '0.69', '39.32'),
            'RaGP + 0.5 FFT loss': ('3.75', '17.73', '0.1358', '25.60', '0.74', '28.32'),
            'RaGP + 0.5 spectral loss': ('3.17', '20.12', '0.1491', '24.19', '0.67', '34.10'),
        }
    },
    sizes={'DIV2K': 100},
)

_BLIND = Family(
    'Blind face restoration, ×4',
    ('psnr',),
    {'FFHQ_blind': {'MSRResNet, 115k iterations (challenge report, its hidden test set)': ('26.40953',)}},
    sizes={'FFHQ_blind': 400},
)

FAMILIES = (_METAF2N, _BENCHMARKS, _DIV2K, _BLIND)
