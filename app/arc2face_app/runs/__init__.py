"""From a click to saved pictures: the engine as the page sees it, a visitor's runs and files, errors in words."""
