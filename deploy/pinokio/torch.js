// torch in the version of requirements.txt, in the build for this machine. uv knows where each build lies.
const pinned = (options) => `uv pip install torch -c requirements.txt ${options}`.trim()
const step = (when, options) => ({
  when,
  method: "shell.run",
  params: { venv: "{{args && args.venv ? args.venv : null}}", path: "{{args && args.path ? args.path : '.'}}", message: [pinned(options)] },
})

module.exports = {
  run: [
    step("{{platform === 'darwin'}}", ""),
    step("{{platform !== 'darwin' && gpu === 'nvidia'}}", "--torch-backend auto"),
    // ROCm's builds are for Linux; on Windows an AMD card is not used.
    step("{{platform === 'linux' && gpu === 'amd'}}", "--torch-backend auto"),
    step("{{platform !== 'darwin' && gpu !== 'nvidia' && !(platform === 'linux' && gpu === 'amd')}}", "--torch-backend cpu"),
  ],
}
