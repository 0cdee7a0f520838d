// A camera for the Video tab: what it records goes the way of an uploaded file.
(() => {
  const studio = (window.studio ??= {});
  const LONGEST = 30; // seconds
  const KINDS = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
  const ASKING = "Your browser asks whether this page may use the camera.";
  const WHY = {
    NotAllowedError: "The browser does not let this page use the camera. Allow it beside the address, or add a video file.",
    NotFoundError: "No camera was found. Plug one in, or add a video file.",
    NotReadableError: "Another program is using the camera. Close that program, or add a video file.",
    Insecure: "Browsers open the camera only for https and localhost. Open the page that way, or add a video file.",
    Unknown: "The camera could not be opened. Add a video file instead.",
  };

  /** Give a file to a Gradio drop zone, in place of what it holds. */
  const give = async (zone, file) => {
    zone?.querySelector("[aria-label*='lear'], [aria-label*='emove']")?.click();
    for (let wait = 0; wait < 40; wait += 1) {
      const input = zone?.querySelector("input[type=file]");
      if (input) {
        const transfer = new DataTransfer();
        transfer.items.add(file);
        input.files = transfer.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
        return;
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  };

  studio.film = (element) => {
    const [open, stage, view, record, close, said] = ["open", "stage", "view", "record", "close", "said"]
      .map((name) => element.querySelector(`.film-${name}`));
    let stream = null;
    let recorder = null;
    let clock = 0;
    const shut = () => {
      clearInterval(clock);
      if (recorder?.state === "recording") recorder.stop();
      for (const track of stream?.getTracks() ?? []) track.stop();
      stream = recorder = view.srcObject = null;
      stage.hidden = true;
      open.hidden = false;
    };
    const refused = (error) => {
      shut();
      said.textContent = WHY[error?.name] ?? WHY.Unknown;
      said.classList.add("warn");
    };
    open.onclick = async () => {
      said.textContent = "";
      said.classList.remove("warn");
      if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return refused({ name: "Insecure" });
      said.textContent = ASKING;
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" }, audio: false });
      } catch (error) {
        return refused(error);
      }
      said.textContent = "";
      view.srcObject = stream;
      stage.hidden = false;
      open.hidden = true;
      record.textContent = "Record";
      record.focus();
    };
    close.onclick = () => { recorder = null; shut(); open.focus(); };
    record.onclick = () => {
      if (recorder?.state === "recording") return recorder.stop();
      const kind = KINDS.find((one) => MediaRecorder.isTypeSupported(one));
      const parts = [];
      const mine = (recorder = new MediaRecorder(stream, kind ? { mimeType: kind } : {}));
      mine.ondataavailable = (event) => parts.push(event.data);
      mine.onstop = () => {
        const kept = recorder === mine;
        const type = mine.mimeType.split(";")[0] || "video/webm";
        recorder = null;
        shut();
        if (!kept || !parts.length) return;
        give(element.closest(".card")?.querySelector(".motion"), new File(parts, `webcam.${type.split("/")[1]}`, { type }));
        said.textContent = "";
      };
      mine.start();
      let left = LONGEST;
      const tick = () => { record.textContent = `Stop recording (${left} s left)`; if (left <= 0) mine.stop(); left -= 1; };
      tick();
      clock = setInterval(tick, 1000);
    };
    // A camera must not stay on where nobody sees it.
    document.addEventListener("visibilitychange", () => { if (document.hidden && stream) shut(); });
    new IntersectionObserver((seen) => { if (stream && !seen.at(-1).isIntersecting && !view.offsetParent) shut(); }).observe(view);
  };
})();
