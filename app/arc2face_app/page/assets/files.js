() => {
  // A file of a kind that a field does not take is told of by its name, with the kinds that are taken. Gradio says less,
  // or nothing at all. The good ones among several files go on.
  const PICTURES = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF";
  const EXTRA = { heic: "image/heic", heif: "image/heif", avif: "image/avif", jp2: "image/jp2", tif: "image/tiff", tiff: "image/tiff",
    mkv: "video/x-matroska", mov: "video/quicktime", avi: "video/x-msvideo" };
  const ending = (name) => name.toLowerCase().split(".").pop();

  const accepted = (input) => (input.accept || "").split(",").map((one) => one.trim().toLowerCase()).filter(Boolean);
  const fits = (file, kinds) => !kinds.length || kinds.some((kind) => kind === "*" || (kind.endsWith("/*")
    ? file.type.startsWith(kind.slice(0, -1)) : kind.startsWith(".") ? file.name.toLowerCase().endsWith(kind) : file.type === kind));
  /** Some browsers know no kind for these; without one the field would refuse them. */
  const typed = (file) => (file.type || !EXTRA[ending(file.name)] ? file : new File([file], file.name, { type: EXTRA[ending(file.name)] }));
  const taken = (kinds) => {
    const others = kinds.filter((kind) => kind.startsWith(".")).join(", ");
    if (kinds.includes("image/*")) return others ? `Photos (${PICTURES}) and saved identities (${others}) are taken here.` : `Photos may be ${PICTURES} files.`;
    if (kinds.includes("video/*")) return "Videos may be MP4, MOV, WebM, MKV, AVI or GIF files.";
    return `Files of this kind are taken here: ${others}.`;
  };

  /** The files that the field takes; the others are told of. */
  const sorted = (input, files) => {
    const kinds = accepted(input), all = files.map(typed), bad = all.filter((file) => !fits(file, kinds));
    const host = input.closest(".block") ?? input.parentElement;
    const names = bad.slice(0, 3).map((file) => `“${file.name}”`).join(", ") + (bad.length > 3 ? " …" : "");
    window.studio.cannot(bad.length ? `${names}: not taken. ${taken(kinds)}` : "", host);
    return { good: all.filter((file) => fits(file, kinds)), changed: bad.length > 0 || all.some((file, k) => file !== files[k]) };
  };
  const { put } = window.studio;

  addEventListener("change", (event) => {
    const input = event.target;
    if (!(input instanceof HTMLInputElement) || input.type !== "file" || !input.files.length) return;
    const { good, changed } = sorted(input, [...input.files]);
    if (!changed) return;
    put(input, good);
    if (!good.length) event.stopImmediatePropagation();
  }, true);
  addEventListener("drop", (event) => {
    const zone = event.target instanceof Element ? event.target.closest(".block") : null;
    const input = zone?.querySelector("input[type=file]"), files = [...(event.dataTransfer?.files ?? [])];
    if (!input || !files.length) return;
    const { good, changed } = sorted(input, files);
    if (!changed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!good.length) return;
    put(input, good);
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
}
