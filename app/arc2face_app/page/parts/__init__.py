"""What several tabs share: pickers, sliders, settings, results."""
