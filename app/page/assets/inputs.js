() => {
  // Ways in that Gradio lacks: pictures pasted with the keyboard, and pictures dropped onto a zone that holds some.
  const pictures = (transfer) => [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/") || !file.type);
  const give = (zone, files) => {
    const input = zone?.querySelector("input[type=file]");
    if (!input || !files.length) return false;
    const transfer = new DataTransfer();
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  const filled = (target) => {
    const zone = target instanceof Element ? target.closest(".photos") : null;
    return zone?.querySelector(".grid-container") ? zone : null;
  };
  for (const kind of ["dragover", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = filled(event.target);
      if (!zone || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (kind === "drop") give(zone, pictures(event.dataTransfer));
    }, true);
  }
  document.addEventListener("paste", (event) => {
    const files = pictures(event.clipboardData);
    const zone = document.activeElement?.closest(".photos") ?? document.querySelector(".who .photos");
    if (give(zone, files)) event.preventDefault();
  });

  // How large a picture is decides how large it is shown at most (style.css).
  const sized = (image) => {
    const box = image.closest(".gallery-container, .image-container, .image-frame");
    if (box && image.naturalWidth) box.style.setProperty("--px", image.naturalWidth);
  };
  document.addEventListener("load", (event) => {
    if (event.target instanceof HTMLImageElement) sized(event.target);
  }, true);

  // Names for what Gradio only numbers: example pictures, and drop zones that would all be called the same.
  const named = (element, name) => {
    if (element && name && element.getAttribute("aria-label") !== name) element.setAttribute("aria-label", name);
  };
  const name = () => {
    for (const thumbnail of document.querySelectorAll(".strip .thumbnail-item")) {
      named(thumbnail, thumbnail.querySelector("img")?.alt);
    }
    for (const zone of document.querySelectorAll(".photos, .drop")) {
      const label = zone.querySelector("[data-testid=block-label]")?.textContent.trim() || zone.dataset.name;
      named(zone.querySelector("button:has(> input[type=file]), button:has([data-testid=upload-text])"), label && `${label}: choose, or drop here`);
    }
  };
  let planned = 0;
  new MutationObserver(() => { planned ||= requestAnimationFrame(() => { planned = 0; name(); }); })
    .observe(document.body, { childList: true, subtree: true });
  name();
}
