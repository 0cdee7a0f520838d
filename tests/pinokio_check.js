// node pinokio_check.js FOLDER [MODULES]: loads every script of a launcher, renders each step for three platforms and
// three kinds of card, and prints one JSON object: the steps that run there, and problems. Nothing is executed.
// MODULES: a node_modules with pinokiod; then its own loader, template engine and methods decide. Without it the
// expressions are evaluated plainly and the methods come from a list taken from pinokiod 5.3.28.
const fs = require("fs")
const path = require("path")

const [folder, modules] = [path.resolve(process.argv[2]), process.argv[3]]
const LISTED = ["shell.run", "script.start", "fs.rm", "local.set", "notify"]
const PLATFORMS = ["linux", "darwin", "win32"]
const CARDS = ["nvidia", "amd", "none"]
const problems = []

function known(method) {
  if (!modules) return LISTED.includes(method)
  const [name, member] = method.split(".")
  const file = path.join(modules, "pinokiod/kernel/api", name, "index.js")
  return fs.existsSync(file) && new RegExp(`\\basync ${member}\\s*\\(`).test(fs.readFileSync(file, "utf8"))
}

function plain(value, context) {
  if (Array.isArray(value)) return value.map((one) => plain(one, context))
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v, context)]))
  if (typeof value !== "string") return value
  const names = Object.keys(context)
  const run = (text) => new Function(...names, `return (${text})`)(...names.map((name) => context[name]))
  const whole = value.match(/^{{(.*)}}$/)
  return whole ? run(whole[1]) : value.replace(/{{(.*?)}}/g, (_, text) => run(text))
}

async function loaded(file) {
  if (!modules) return require(file)
  const Loader = require(path.join(modules, "pinokiod/kernel/loader"))
  return (await new Loader().load(file)).resolved
}

async function renderer(context) {
  if (!modules) return (step) => plain(step, context)
  const Template = require(path.join(modules, "jimini"))
  const template = new Template()
  await template.init({ kernel: {}, ...context })
  return (step) => template.render(JSON.parse(JSON.stringify(step)), context)
}

async function main() {
  const found = {}
  const files = fs.readdirSync(folder).filter((name) => name.endsWith(".js") && name !== "repository.js")
  for (const file of files.filter((name) => name !== "pinokio.js")) {
    const script = await loaded(path.join(folder, file))
    if (!script || !Array.isArray(script.run)) { problems.push(`${file} cannot be loaded`); continue }
    for (const platform of PLATFORMS) for (const gpu of CARDS) {
      const context = {
        platform, gpu, port: 42001, args: { venv: "env", path: "app" }, input: { event: [0, "http://127.0.0.1:42001"] },
        exists: (name) => fs.existsSync(path.join(folder, name)),
      }
      const render = await renderer(context)
      const steps = []
      for (const [place, step] of script.run.entries()) {
        if (!known(step.method)) problems.push(`${file} step ${place}: there is no method ${step.method}`)
        try {
          const done = render(step)
          const when = "when" in done ? done.when : true
          if (when && when !== "false") steps.push({ method: done.method, params: done.params })
          const uri = done.params && done.params.uri
          if (uri && !fs.existsSync(path.join(folder, uri))) problems.push(`${file}: there is no ${uri}`)
        } catch (error) { problems.push(`${file} step ${place}, ${platform}, ${gpu}: ${error.message}`) }
      }
      found[`${file} ${platform} ${gpu}`] = steps
    }
  }
  const page = await loaded(path.join(folder, "pinokio.js"))
  const menus = {}
  for (const state of ["new", "installing", "installed", "starting", "started"]) {
    const info = {
      exists: () => !["new", "installing"].includes(state),
      running: (name) => (state === "installing" && name === "install.js") || (state.startsWith("start") && name === "start.js"),
      local: () => (state === "started" ? { url: "http://127.0.0.1:42001" } : {}),
    }
    menus[state] = await page.menu({}, info)
    for (const entry of menus[state]) {
      if (!entry.href.startsWith("http") && !files.includes(entry.href)) problems.push(`menu: there is no ${entry.href}`)
    }
  }
  console.log(JSON.stringify({ problems, steps: found, menus, title: page.title, icon: page.icon }))
}

main().catch((error) => { console.log(JSON.stringify({ problems: [String(error)] })) })
