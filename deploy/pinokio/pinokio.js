// The launcher's menu. Everything is installed into this folder: the program in app/, its packages in app/env.
module.exports = {
  version: "5.0",
  title: "Arc2Face Studio",
  description: "New pictures of one person from one photo. Runs on this machine; your photos stay here.",
  icon: "icon.png",
  menu: async (kernel, info) => {
    const running = (name) => info.running(name)
    if (running("install.js")) return [{ default: true, icon: "fa-solid fa-plug", text: "Installing", href: "install.js" }]
    if (!info.exists("app/env")) return [{ default: true, icon: "fa-solid fa-plug", text: "Install", href: "install.js" }]
    if (running("start.js")) {
      const local = info.local("start.js")
      const log = { icon: "fa-solid fa-terminal", text: "Terminal", href: "start.js" }
      if (!local || !local.url) return [{ ...log, default: true }]
      return [{ default: true, icon: "fa-solid fa-rocket", text: "Open the page", href: local.url }, log]
    }
    for (const [name, text] of [["update.js", "Updating"], ["models.js", "Fetching models"], ["reset.js", "Resetting"]]) {
      if (running(name)) return [{ default: true, icon: "fa-solid fa-terminal", text, href: name }]
    }
    return [
      { default: true, icon: "fa-solid fa-power-off", text: "Start", href: "start.js" },
      { icon: "fa-solid fa-download", text: "Fetch the full models (about 5 GB)", href: "models.js" },
      { icon: "fa-solid fa-rotate", text: "Update", href: "update.js" },
      { icon: "fa-solid fa-plug", text: "Install again", href: "install.js" },
      { icon: "fa-regular fa-circle-xmark", text: "Reset", href: "reset.js", confirm: "Remove the installed packages? Models and pictures stay." },
    ]
  },
}
