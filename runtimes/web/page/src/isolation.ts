import { remember, remembered } from "./memory";

const TRIED = "samdeploy-isolation";

/** Let the page use threads: browsers allow them only where two headers say that nothing foreign is
 * inside. On hosts that do not send them a service worker adds them, after which the page loads
 * once more; never twice. Whether this page goes on.
 */
export async function isolate(): Promise<boolean> {
  if (crossOriginIsolated || !isSecureContext || !("serviceWorker" in navigator)) return true;
  if (remembered("sessionStorage", TRIED)) return true;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
  } catch {
    return true; // one thread computes as well
  }
  if (!remember("sessionStorage", TRIED, "1")) return true;
  location.reload();
  return false;
}
