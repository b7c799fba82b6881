/* Search without a server. A browser starts no worker from a file, so where pages are opened from a folder a hidden frame plays
   its part: same messages, same scripts, nothing from the network. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = this.onerror = this.onmessageerror = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const room = this.frame.contentWindow;
      const loaded = (src) =>
        new Promise((resolve, reject) => {
          const script = room.document.createElement("script");
          script.src = src;
          script.onload = resolve;
          script.onerror = reject;
          room.document.body.appendChild(script);
        });
      room.postMessage = (data) => this.told(data);
      room.importScripts = (...urls) => urls.reduce((done, each) => done.then(() => loaded(each)), Promise.resolve());
      this.ready = loaded(String(url));
    }
    told(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }
    postMessage(data) {
      const room = this.frame.contentWindow;
      this.ready = this.ready.then(() => room.dispatchEvent(new room.MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
