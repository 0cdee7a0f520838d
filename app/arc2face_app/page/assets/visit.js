// The secret of this visit, in the storage of this browser tab alone: after a reload the page goes on with its pictures.
(() => {
  const studio = (window.studio ??= {});
  const KEY = "studio-visit";
  studio.visit = {
    before: () => { try { return sessionStorage.getItem(KEY) ?? ""; } catch { return ""; } },
    keep: (secret) => { try { sessionStorage.setItem(KEY, secret); } catch { /* a reload starts afresh, then */ } },
  };
})();
