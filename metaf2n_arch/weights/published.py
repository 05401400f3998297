"""Published weights files: the table of all that are known by name, and those of face detectors and restorers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PublishedFile:
    """One published weights file.

    Attributes:
        name: the short name used in option files and on the command line.
        file: name of the file on the disk.
        url: web address of the file.
        size: size in bytes; None if it is not known.
        sha256: checksum, or its first digits, which files of torchvision have in their names. None if it is not known;
            then `metaf2n weights fetch` says that the file was not verified.
        licence: licence of the weights.
        purpose: what the file is for, in a few words.
        home: folder for downloads: ``metaf2n``, ours; or ``torch``, in which torchvision finds the file, too.
    """

    name: str
    file: str
    url: str
    size: int | None
    sha256: str | None
    licence: str
    purpose: str
    home: Literal['metaf2n', 'torch'] = 'metaf2n'

    @property
    def checksum_in_words(self) -> str:
        """The checksum, in words for messages."""
        if self.sha256 is None:
            return 'sha256 unknown; not verified'
        return f'sha256 {self.sha256}' if len(self.sha256) == 64 else f'sha256 beginning with {self.sha256}'


_FACEXLIB = 'https://github.com/xinntao/facexlib/releases/download/v0.1.0/'
_GFPGAN = 'https://github.com/TencentARC/GFPGAN/releases/download/'
_GPEN = 'https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/'
_REALESRGAN = 'https://github.com/xinntao/Real-ESRGAN/releases/download/'
_OPENCV_ZOO = 'https://media.githubusercontent.com/media/opencv/opencv_zoo/f12e12798e8314f7c074a6656816c048dcc95b7a/'

_TORCHVISION = 'https://download.pytorch.org/models/'
_PYIQA = 'https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/'

TABLE: tuple[PublishedFile, ...] = (
    PublishedFile(
        name='retinaface_resnet50',
        file='detection_Resnet50_Final.pth',
        url=_FACEXLIB + 'detection_Resnet50_Final.pth',
        size=109497761,
        sha256='6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d',
        licence='MIT',
        purpose='face detector RetinaFace, ResNet-50',
    ),
    PublishedFile(
        name='retinaface_mobile0.25',
        file='detection_mobilenet0.25_Final.pth',
        url=_FACEXLIB + 'detection_mobilenet0.25_Final.pth',
        size=1789735,
        sha256='2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220',
        licence='MIT',
        purpose='face detector RetinaFace, MobileNet-0.25',
    ),
    PublishedFile(
        name='yunet',
        file='face_detection_yunet_2023mar.onnx',
        url=_OPENCV_ZOO + 'models/face_detection_yunet/face_detection_yunet_2023mar.onnx',
        size=232589,
        sha256='8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4',
        licence='MIT',
        purpose='face detector YuNet',
    ),
    PublishedFile(
        name='gpen_bfr_256',
        file='GPEN-BFR-256.pth',
        url=_GPEN + 'GPEN-BFR-256.pth',
        size=None,
        sha256=None,
        licence='non-commercial (GPEN)',
        purpose='face restorer GPEN, 256 x 256, for training',
    ),
    PublishedFile(
        name='gpen_bfr_512',
        file='GPEN-BFR-512.pth',
        url=_GPEN + 'GPEN-BFR-512.pth',
        size=None,
        sha256=None,
        licence='non-commercial (GPEN)',
        purpose='face restorer GPEN, 512 x 512, for testing',
    ),
    PublishedFile(
        name='gfpgan_v1.3',
        file='GFPGANv1.3.pth',
        url=_GFPGAN + 'v1.3.0/GFPGANv1.3.pth',
        size=348632874,
        sha256='c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70',
        licence='Apache-2.0',
        purpose='face restorer GFPGAN 1.3',
    ),
    PublishedFile(
        name='gfpgan_v1.4',
        file='GFPGANv1.4.pth',
        url=_GFPGAN + 'v1.3.0/GFPGANv1.4.pth',
        size=348632874,
        sha256='e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad',
        licence='Apache-2.0',
        purpose='face restorer GFPGAN 1.4',
    ),
    PublishedFile(
        name='restoreformer',
        file='RestoreFormer.pth',
        url=_GFPGAN + 'v1.3.4/RestoreFormer.pth',
        size=None,
        sha256=None,
        licence='Apache-2.0',
        purpose='face restorer RestoreFormer (needs spandrel)',
    ),
    PublishedFile(
        name='codeformer',
        file='codeformer.pth',
        url='https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth',
        size=376637898,
        sha256='1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7',
        licence='S-Lab 1.0 (non-commercial)',
        purpose='face restorer CodeFormer (needs spandrel_extra_arches)',
    ),
    PublishedFile(
        name='realesrgan_x4plus',
        file='RealESRGAN_x4plus.pth',
        url=_REALESRGAN + 'v0.1.0/RealESRGAN_x4plus.pth',
        size=67040989,
        sha256='4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1',
        licence='BSD-3-Clause',
        purpose='generator RRDBNet x4 that MetaF2N starts from',
    ),
    PublishedFile(
        name='realesrgan_x4plus_netd',
        file='RealESRGAN_x4plus_netD.pth',
        url=_REALESRGAN + 'v0.2.2.3/RealESRGAN_x4plus_netD.pth',
        size=None,
        sha256=None,
        licence='BSD-3-Clause',
        purpose='discriminator that MetaF2N starts from',
    ),
    PublishedFile(
        name='realesr_animevideov3',
        file='realesr-animevideov3.pth',
        url=_REALESRGAN + 'v0.2.5.0/realesr-animevideov3.pth',
        size=2504012,
        sha256='b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d',
        licence='BSD-3-Clause',
        purpose='small generator SRVGGNetCompact x4',
    ),
    PublishedFile(
        name='esrgan_x4',
        file='ESRGAN_SRx4_DF2KOST_official-ff704c30.pth',
        url=_REALESRGAN + 'v0.1.1/ESRGAN_SRx4_DF2KOST_official-ff704c30.pth',
        size=None,
        sha256='ff704c30ff560305e48ed1f4db895e525ab6bc81a46fafe80c0094a271c806d9',
        licence='Apache-2.0',
        purpose='ESRGAN, to compare with',
    ),
    PublishedFile(
        name='edsr_x4',
        file='edsr_x4-4f62e9ef.pt',
        url='https://cv.snu.ac.kr/research/EDSR/models/edsr_x4-4f62e9ef.pt',
        size=None,
        sha256=None,
        licence='MIT',
        purpose='EDSR, to compare with',
    ),
    PublishedFile(
        name='lpips_alex',
        file='alexnet-owt-7be5be79.pth',
        url=_TORCHVISION + 'alexnet-owt-7be5be79.pth',
        size=244408911,
        sha256='7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02',
        licence='BSD-3-Clause (trained on ImageNet)',
        purpose='AlexNet: LPIPS (alex), loss and metric',
    ),
    PublishedFile(
        name='lpips_vgg',
        file='vgg16-397923af.pth',
        url=_TORCHVISION + 'vgg16-397923af.pth',
        size=553433881,
        sha256='397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0',
        licence='BSD-3-Clause (trained on ImageNet)',
        purpose='VGG16: LPIPS (vgg) and DISTS, loss and metric',
    ),
    PublishedFile(
        name='lpips_squeeze',
        file='squeezenet1_1-b8a52dc0.pth',
        url=_TORCHVISION + 'squeezenet1_1-b8a52dc0.pth',
        size=4958839,
        sha256='b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b',
        licence='BSD-3-Clause (trained on ImageNet)',
        purpose='SqueezeNet: LPIPS (squeeze), loss and metric',
    ),
    PublishedFile(
        name='vgg19',
        file='vgg19-dcbb9e9d.pth',
        url=_TORCHVISION + 'vgg19-dcbb9e9d.pth',
        size=574673361,
        sha256='dcbb9e9d',
        licence='BSD-3-Clause (trained on ImageNet)',
        purpose="VGG19: BasicSR's PerceptualLoss",
        home='torch',
    ),
    PublishedFile(
        name='dists',
        file='DISTS_weights-f5e65c96.pth',
        url=_PYIQA + 'DISTS_weights-f5e65c96.pth',
        size=None,
        sha256='f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218',
        licence='MIT',
        purpose='DISTS, loss and metric; needs lpips_vgg, too',
    ),
    PublishedFile(
        name='inception',
        file='pt_inception-2015-12-05-6726825d.pth',
        url='https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth',
        size=95628359,
        sha256='6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
        licence='Apache-2.0',
        purpose='Inception: FID',
    ),
    PublishedFile(
        name='niqe',
        file='niqe_modelparameters.mat',
        url=_PYIQA + 'niqe_modelparameters.mat',
        size=None,
        sha256=None,
        licence='none stated',
        purpose='NIQE of pyiqa (that of BasicSR needs no file)',
    ),
    PublishedFile(
        name='brisque',
        file='brisque_svm_weights.pth',
        url=_PYIQA + 'brisque_svm_weights.pth',
        size=None,
        sha256=None,
        licence='none stated',
        purpose='BRISQUE',
    ),
)

DETECTORS = ('retinaface_resnet50', 'retinaface_mobile0.25', 'yunet')
"""Face detectors whose published weights have the name of the detector."""

RESTORERS = {
    ('gpen', 256): 'gpen_bfr_256',
    ('gpen', 512): 'gpen_bfr_512',
    ('gfpgan', 512): 'gfpgan_v1.4',
    ('restoreformer', 512): 'restoreformer',
    ('codeformer', 512): 'codeformer',
}
"""Type and size of a face restorer -> the name of its published weights."""
