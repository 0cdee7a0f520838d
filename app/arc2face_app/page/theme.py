"""Colours, type and spacing of the page. System fonts only, so that nothing is fetched from the network."""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base, sizes
from gradio.themes.utils import colors

ASSETS = Path(__file__).parent / "assets"
STYLESHEET = ASSETS / "style.css"
PICTURES_STYLESHEET = ASSETS / "pictures.css"
DRIVING_STYLESHEET = ASSETS / "driving.css"
ACCESS_STYLESHEET = ASSETS / "access.css"
SCRIPT_HEAD = ASSETS / "language.js"
"""Runs before Gradio, so that no text appears in another language first."""
SCRIPTS = tuple(
    ASSETS / name for name in ("page.js", "sayings.js", "inputs.js", "files.js", "access.js", "keys.js", "links.js")
)
"""Each holds one function without arguments."""
PICTURE_SCRIPTS = tuple(
    ASSETS / name
    for name in ("visit.js", "remember.js", "lightbox.js", "pictures.js", "history.js", "film.js", "dataset.js")
)
FAVICON = ASSETS / "favicon.svg"
EXAMPLES = ASSETS / "examples"

# Contrast against its own text is at least 4.5:1 in both schemes: 600 under white, 300 under 950.
PINE = colors.Color(
    name="pine",
    c50="#effaf6",
    c100="#d7f2e8",
    c200="#b0e4d3",
    c300="#7ed0b8",
    c400="#48b497",
    c500="#25977b",
    c600="#177763",
    c700="#136051",
    c800="#124d42",
    c900="#103f37",
    c950="#062420",
)
STONE = colors.Color(
    name="stone",
    c50="#faf9f7",
    c100="#f3f1ed",
    c200="#e6e3dc",
    c300="#d1ccc2",
    c400="#a29c90",
    c500="#716c62",
    c600="#55514a",
    c700="#3b3935",
    c800="#26262a",
    c900="#1b1b1f",
    c950="#131316",
)


def script() -> str:
    """The scripts as the one function that Gradio runs when the page is there."""
    return "() => {" + "".join(f"({path.read_text(encoding='utf-8')})();" for path in SCRIPTS) + "}"


class StudioTheme(Base):
    """Warm paper and pine green; the same shapes in light and dark."""

    def __init__(self) -> None:
        super().__init__(
            primary_hue=PINE,
            secondary_hue=PINE,
            neutral_hue=STONE,
            radius_size=sizes.radius_lg,
            text_size=sizes.text_md,
            spacing_size=sizes.spacing_md,
            font=("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"),
            font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"),
        )
        self.name = "studio"
        super().set(
            body_background_fill="*neutral_100",
            body_background_fill_dark="*neutral_950",
            body_text_color="*neutral_900",
            body_text_color_dark="*neutral_100",
            body_text_color_subdued="*neutral_500",
            body_text_color_subdued_dark="*neutral_400",
            background_fill_primary="white",
            background_fill_primary_dark="*neutral_900",
            background_fill_secondary="*neutral_50",
            background_fill_secondary_dark="*neutral_800",
            border_color_primary="*neutral_200",
            border_color_primary_dark="#34343a",
            color_accent="*primary_600",
            color_accent_soft="*primary_50",
            color_accent_soft_dark="*primary_900",
            block_background_fill="white",
            block_background_fill_dark="*neutral_900",
            block_border_width="0px",
            block_shadow="none",
            block_padding="*spacing_md 0",
            block_label_background_fill="transparent",
            block_label_border_width="0px",
            block_label_shadow="none",
            block_label_text_color="*body_text_color_subdued",
            block_label_text_color_dark="*body_text_color_subdued",
            block_title_text_weight="500",
            block_title_text_color="*body_text_color",
            block_title_text_color_dark="*body_text_color",
            block_info_text_color="*body_text_color_subdued",
            block_info_text_color_dark="*body_text_color_subdued",
            panel_background_fill="transparent",
            panel_background_fill_dark="transparent",
            panel_border_width="0px",
            input_background_fill="*neutral_50",
            input_background_fill_dark="*neutral_800",
            input_border_color="*neutral_300",
            input_border_color_dark="#46464d",
            input_border_color_focus="*primary_600",
            input_border_color_focus_dark="*primary_300",
            input_border_width="1px",
            slider_color="*primary_600",
            slider_color_dark="*primary_400",
            checkbox_background_color_selected="*primary_600",
            checkbox_background_color_selected_dark="*primary_500",
            checkbox_label_background_fill="transparent",
            checkbox_label_background_fill_dark="transparent",
            checkbox_label_background_fill_selected="*primary_50",
            checkbox_label_background_fill_selected_dark="*primary_900",
            checkbox_label_border_width="1px",
            checkbox_label_border_color_selected="*primary_600",
            checkbox_label_border_color_selected_dark="*primary_400",
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            button_primary_background_fill_dark="*primary_300",
            button_primary_background_fill_hover_dark="*primary_200",
            button_primary_text_color="white",
            button_primary_text_color_dark="*primary_950",
            button_primary_border_color="transparent",
            button_primary_border_color_dark="transparent",
            button_primary_shadow="none",
            button_secondary_background_fill="white",
            button_secondary_background_fill_hover="*neutral_50",
            button_secondary_background_fill_dark="*neutral_800",
            button_secondary_background_fill_hover_dark="*neutral_700",
            button_secondary_border_color="*neutral_300",
            button_secondary_border_color_dark="#46464d",
            button_border_width="1px",
            button_large_text_weight="600",
            button_transition="background-color .15s ease, border-color .15s ease",
            link_text_color="*primary_700",
            link_text_color_dark="*primary_300",
            shadow_drop="none",
            shadow_drop_lg="0 10px 30px rgb(0 0 0 / .10)",
        )
