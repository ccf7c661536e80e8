// Deposits that are not final yet, kept in this browser: ciphertext keys that no script can read back, no file.
const NAME = "dematmp";
const STORE = "drafts";

function database() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "deposit" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function run(mode, work) {
  const opened = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = opened.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    opened.close();
  }
}

export const keep = (draft) => run("readwrite", (store) => store.put(draft));
export const forget = (deposit) => run("readwrite", (store) => store.delete(deposit));
export const find = (deposit) => run("readonly", (store) => store.get(deposit));

export async function pending(consultation, organisation) {
  const all = await run("readonly", (store) => store.getAll());
  return all.filter((draft) => draft.consultation === consultation && draft.organisation === organisation);
}
