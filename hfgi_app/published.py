"""The published weights files: where each comes from, how large it is, under which licence.

What has no known checksum is read by code that runs nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hfgi_app.errors import WeightsError


@dataclass(frozen=True)
class WeightSpec:
    """One published file.

    repo: its Hugging Face Hub repository, or None where no mirror is known: users bring such a file themselves.
    space: that repository is a Space. source: where its authors give it. sha256, size (bytes): None where they were
        never published.
    """

    name: str
    file: str
    repo: str | None
    source: str
    sha256: str | None
    size: int | None
    licence: str
    about: str
    space: bool = False


E4E_SOURCE = "https://github.com/omertov/encoder4editing"
STYLECLIP_SOURCE = "https://github.com/orpatashnik/StyleCLIP"
CLIP_SOURCE = "https://github.com/openai/CLIP"
MAPPERS = (
    "afro", "angry", "bobcut", "bowlcut", "curly_hair", "mohawk", "surprised", "beyonce", "hilary_clinton", "depp",
    "purple_hair", "taylor_swift", "trump", "zuckerberg",
)  # fmt: skip
CATALOGUE = (
    WeightSpec(
        name="e4e-ffhq",
        file="pretrained_models/encoder4editing/e4e_ffhq_encode.pt",
        repo="AIRI-Institute/HairFastGAN",
        source=E4E_SOURCE,
        sha256="2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
        size=1_201_649_680,
        licence="MIT (encoder), NVIDIA Source Code Licence, non-commercial (generator)",
        about="e4e encoder, FFHQ 1024 px generator and average code (Tov et al. 2021)",
    ),
    WeightSpec(
        name="hfgi-ffhq",
        file="ckpt.pt",
        repo=None,
        source="https://github.com/Tengfei-Wang/HFGI",
        sha256=None,
        size=None,
        licence="none stated",
        about="HFGI for faces: encoder, generator, alignment and consultation (Wang et al. 2022)",
    ),
    WeightSpec(
        name="age",
        file="age.pt",
        repo=None,
        source=E4E_SOURCE,
        sha256="50074516b1629707d89b5e43d6b8abd1792212fa3b961a87a11323d6a5222ae0",
        size=2_808,
        licence="MIT",
        about="InterfaceGAN direction, older (1 x 512)",
    ),
    WeightSpec(
        name="smile",
        file="smile.pt",
        repo=None,
        source=E4E_SOURCE,
        sha256="817a7e732b59dee9eba862bec8bd7e8373568443bc9f9731a21cf9b0356f0653",
        size=2_808,
        licence="MIT",
        about="InterfaceGAN direction, smiling (1 x 512)",
    ),
    WeightSpec(
        name="pose",
        file="pose.pt",
        repo=None,
        source=E4E_SOURCE,
        sha256="736e0eacc8488fa0b020a2e7bd256b957284c364191dfea693705e5d06d43e7d",
        size=37_624,
        licence="MIT",
        about="InterfaceGAN direction, head turn (1 x 18 x 512)",
    ),
    WeightSpec(
        name="ffhq-pca",
        file="ffhq_pca.pt",
        repo=None,
        source=E4E_SOURCE,
        sha256="4d7f9df1c96180d9026b9cb8d04753579fbf385f321a9d0e263641601c5e5d36",
        size=167_562,
        licence="MIT",
        about="GANSpace: mean, 80 principal components and deviations of the codes",
    ),
    WeightSpec(
        name="styleclip-relevance",
        file="hyperstyle_global_directions/global_directions/ffhq/fs3.npy",
        repo="ethanNeuralImage/inversion_testing",
        space=True,
        source=STYLECLIP_SOURCE,
        sha256=None,
        size=None,
        licence="MIT",
        about="StyleCLIP: relevance of 6,048 style channels of the FFHQ generator to CLIP (Patashnik et al. 2021)",
    ),
    WeightSpec(
        name="styleclip-statistics",
        file="hyperstyle_global_directions/global_directions/ffhq/S_mean_std",
        repo="ethanNeuralImage/inversion_testing",
        space=True,
        source=STYLECLIP_SOURCE,
        sha256=None,
        size=75_092,
        licence="MIT",
        about="StyleCLIP: means and deviations of the FFHQ generator's styles",
    ),
    WeightSpec(
        name="clip",
        file="pytorch_model.bin",
        repo="openai/clip-vit-base-patch32",
        source=CLIP_SOURCE,
        sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        size=605_247_071,
        licence="MIT (code)",
        about="CLIP ViT-B/32, for typed prompts on the published networks (Radford et al. 2021)",
    ),
    WeightSpec(
        name="clip-tokenizer",
        file="tokenizer.json",
        repo="openai/clip-vit-base-patch32",
        source=CLIP_SOURCE,
        sha256="b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
        size=2_224_041,
        licence="MIT (code)",
        about="CLIP's tokenizer",
    ),
    *(
        WeightSpec(
            name=f"mapper-{name}",
            file=f"pretrained_models/styleclip_mappers/{name}.pt",
            repo="AIRI-Institute/StyleFeatureEditor",
            source=STYLECLIP_SOURCE,
            sha256=None,
            size=None,
            licence="MIT",
            about=f"StyleCLIP mapper: {name.replace('_', ' ')}",
        )
        for name in MAPPERS
    ),
)


def spec(name: str) -> WeightSpec:
    """The catalogue's entry of that name. Raises WeightsError where there is none."""
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise WeightsError(f"There are no weights named {name!r:.40}; see `weights list` for those there are.")
